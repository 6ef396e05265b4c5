"""Events: passed on to all, written for TensorBoard, and the pictures of a run drawn as often as is cheap."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading

import pytest

from hswish.spec.errors import MissingPackageError
from hswish.train import Recipe, Reporter, Reporters, resume, train
from hswish.train.interrupt import Interrupted
from hswish.train.pictures import RunPictures
from hswish.train.run_folder import RunFolder

FAST = Recipe(epochs=2, batch_size=2, warmup_epochs=0.5, ema_decay=0.5, lr=5e-3)


class Log(Reporter):
    def __init__(self):
        self.events = []

    def __getattribute__(self, name):
        if name in vars(Reporter) and not name.startswith("_"):
            return lambda *arguments: self.events.append((name, *arguments))
        return super().__getattribute__(name)


def test_every_event_reaches_every_reporter_in_order(colours, tmp_path):
    first, second = Log(), Log()
    recipe = FAST.with_changes({"batch_size": 16})
    train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35,
          reporter=Reporters(first, second))  # fmt: skip
    assert first.events == second.events
    names = [event[0] for event in first.events]
    assert set(names) == {name for name in vars(Reporter) if not name.startswith("_")}
    assert names.index("start_run") < names.index("start_epoch") < names.index("step") < names.index("end_epoch")
    assert names[-1] == "end_run"
    assert ("drawn", 2, tmp_path / "run/predictions.png") in first.events


def test_rows_hold_the_figure_of_each_class(squares, tmp_path):
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, workers=0, width_mult=0.35)
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        assert set(row["per_class"]) == {"ground", "square"}
        known = [value for value in row["per_class"].values() if value is not None]
        assert sum(known) / len(known) == pytest.approx(row["miou"])
    assert (result.run / "classes.png").exists()


def test_tensorboard_shows_a_resumed_run_as_one(squares, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from hswish.train.tensorboard import TensorBoard

    class Stop(Reporter):
        """Ends the run in the middle of its second epoch."""

        steps = 0

        def step(self, pictures, loss, lr):
            self.steps += 1
            if self.steps == 14:
                raise Interrupted("enough")

    recipe = FAST.with_changes({"epochs": 6})
    arguments = {"out": tmp_path / "run", "recipe": recipe, "workers": 0, "width_mult": 0.35}
    with pytest.raises(Interrupted):
        train(squares, "lraspp_mobilenet_v3_small", reporter=Reporters(TensorBoard(), Stop()), **arguments)
    resume(tmp_path / "run", reporter=TensorBoard())
    events = EventAccumulator(str(tmp_path / "run/tensorboard"), {"images": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    assert {"step/loss", "step/lr", "epoch/loss", "epoch/miou", "class/ground", "class/square"} <= set(tags["scalars"])
    assert tags["images"] == ["predictions"]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [event.step for event in events.Scalars("epoch/miou")] == [4, 8, 12, 16, 20, 24]
    assert [event.value for event in events.Scalars("epoch/miou")] == pytest.approx([row["miou"] for row in rows])
    assert [event.step for event in events.Scalars("step/loss")] == [10, 20]


def test_a_class_may_have_a_name_that_is_no_text(tmp_path):
    """As a folder on a disk may, whose name is then no UTF-8."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from hswish.train.tensorboard import TensorBoard

    board = TensorBoard()
    board.start_run(tmp_path)
    board.start_epoch(1, 1, 1, 0)
    board.end_epoch({"epoch": 1, "per_class": {os.fsdecode(b"caf\xe9"): 0.5, "dog": None}})
    board.end_run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == [r"class/caf\udce9"]


def test_events_that_cannot_be_written_end_no_run(colours, tmp_path, capsys):
    """The disk is full at the third event, for the thread that writes as well."""
    pytest.importorskip("tensorboard")
    from hswish.train.tensorboard import TensorBoard

    _AsyncWriterThread = type("_AsyncWriterThread", (threading.Thread,), {})  # noqa: N806 - TensorBoard's name

    class FullDisk:
        def __init__(self, folder, purge_step):
            self.count = 0

        def add_scalar(self, name, value, step):
            self.count += 1
            if self.count == 3:
                thread = _AsyncWriterThread(target=self.close)
                thread.start()
                thread.join()
                self.close()

        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    said, before = [], threading.excepthook
    board = TensorBoard(said.append)
    board._open = FullDisk
    recipe = FAST.with_changes({"batch_size": 2})
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35,
                   reporter=board)  # fmt: skip
    assert result.epochs == 2
    assert said == ["no more of TensorBoard's events are written: the disk is full; free some space and try again"]
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook is before


def test_without_tensorboard_the_extra_is_named(monkeypatch):
    from hswish.train.tensorboard import TensorBoard

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"hswish\[tensorboard\]"):
        TensorBoard()


def test_drawing_takes_a_twentieth_of_the_time_at_most(tmp_path, monkeypatch):
    now = [0.0]
    drawn = []
    monkeypatch.setattr("hswish.train.pictures.time.monotonic", lambda: now[0])

    def draw(rows, path):
        drawn.append(now[0])
        now[0] += 2.0

    monkeypatch.setattr("hswish.train.pictures.curves_picture", draw)
    monkeypatch.setattr("hswish.train.pictures.prediction_page", lambda *arguments: None)
    monkeypatch.setattr("hswish.train.pictures.TorchEngine", lambda model: None)
    pictures = RunPictures(RunFolder(tmp_path), None, Reporter())
    for epoch in range(1, 101):
        now[0] += 10.0
        pictures.after_epoch(object(), epoch)
    assert 20 <= len(drawn) <= 26  # every 40 seconds of 1,000, the first after a minute
    assert drawn[0] == 60


def test_a_picture_that_cannot_be_drawn_is_a_note(colours, tmp_path, monkeypatch):
    def fail(rows, path):
        raise RuntimeError("no ink")

    monkeypatch.setattr("hswish.train.pictures.curves_picture", fail)
    log = Log()
    recipe = FAST.with_changes({"epochs": 1, "batch_size": 16})
    train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35, reporter=log)
    assert ("note", "no pictures of this run: no ink") in log.events
