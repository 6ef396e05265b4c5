"""Runs from start to end: they learn, can be interrupted anywhere, and are reproducible."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import hswish
from hswish.data import open_data
from hswish.spec.errors import DataError, HswishError, ModelFileError, OptionError, SaveError
from hswish.train import Interrupted, Recipe, Reporter, dry_run, resume, train
from hswish.train.interrupt import StopRequest
from hswish.train.learner import Learner
from tests.same import same_weights

FAST = Recipe(epochs=3, batch_size=8, warmup_epochs=0.5, ema_decay=0.5, lr=5e-3)
TINY: dict[str, Any] = {"width_mult": 0.35, "workers": 0}


class Log(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, pictures: int, loss: float, lr: float) -> None:
        self.steps += 1

    def end_epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def test_a_classifier_learns_and_leaves_everything_behind(colours: Path, tmp_path: Path) -> None:
    log = Log()
    recipe = FAST.with_changes({"epochs": 12, "ema_decay": 0.0, "bn_momentum": 0.3, "licence": "cc0-1.0"})
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, reporter=log, **TINY)
    assert result.metrics["top1"] >= 0.9
    names = {path.name for path in result.run.iterdir()}
    assert names == {
        "config.json", "splits.json", "metrics.jsonl", "best.safetensors", "last.ckpt", "curves.png", "classes.png",
        "predictions.png",
    }  # fmt: skip
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows == log.rows
    assert rows[-1]["loss"] < rows[0]["loss"]
    model = hswish.load(result.best)
    assert model.classes == ("blue", "green", "red")
    assert model.description.provenance["pictures"] == {"train": 30, "val": 6}
    assert model.description.provenance["licence"] == "cc0-1.0"
    assert any("held out" in note for note in log.notes), "the split that was made is printed"


def test_validation_now_and_then_and_after_the_last_epoch(colours: Path, tmp_path: Path) -> None:
    log = Log()
    changes = {"epochs": 5, "validate_epochs": 2}
    train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, reporter=log, **TINY)
    assert [row["epoch"] for row in log.rows if "top1" in row] == [2, 4, 5]
    assert "licence" not in hswish.load(tmp_path / "run/best.safetensors").description.provenance, "none was told"
    assert log.steps == 5 * 4
    assert [row["epoch"] for row in log.rows] == [1, 2, 3, 4, 5], "the others are told, too"
    assert all(row["loss"] > 0 and row["lr"] >= 0 and row["pictures_per_second"] > 0 for row in log.rows)
    assert log.rows == [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"curves.png", "classes.png", "predictions.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert not any("no pictures" in note for note in log.notes)


def test_a_segmenter_learns(squares: Path, tmp_path: Path) -> None:
    recipe = FAST.with_changes({"epochs": 20, "batch_size": 4, "ema_decay": 0.0, "bn_momentum": 0.3})
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0)
    assert result.metrics["miou"] > 0.6
    predictor = hswish.Predictor(result.best)
    assert predictor(squares / "images/val/0.png").mask.shape == (48, 64)


def test_same_seed_same_run_and_workers_do_not_matter(colours: Path, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in "abc"]
    train(colours, "mobilenet_v3_small", out=runs[0], recipe=FAST, **TINY)
    train(colours, "mobilenet_v3_small", out=runs[1], recipe=FAST, **{**TINY, "workers": 2})
    train(colours, "mobilenet_v3_small", out=runs[2], recipe=FAST, changes={"seed": 1}, **TINY)
    assert same_weights(runs[0] / "best.safetensors", runs[1] / "best.safetensors")
    assert not same_weights(runs[0] / "best.safetensors", runs[2] / "best.safetensors")


@pytest.mark.parametrize("stop_at", [1, 4, 5, 9])
def test_interrupted_and_resumed_equals_uninterrupted(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Four steps an epoch: in the first, at the end of one, at the start of one, in the last."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(colours, "mobilenet_v3_small", out=whole, recipe=FAST, **TINY)

    stopper = interrupt_after(stop_at, monkeypatch)
    with pytest.raises(Interrupted, match=f"hswish train --resume {parts}"):
        train(colours, "mobilenet_v3_small", out=parts, recipe=FAST, reporter=stopper, **TINY)
    log = Log()
    resume(parts, reporter=log)
    assert log.steps == 12 - stop_at
    assert same_weights(whole / "best.safetensors", parts / "best.safetensors")
    states = [torch.load(run / "last.ckpt", weights_only=True) for run in (whole, parts)]
    for name, value in states[0]["body"].items():
        assert torch.equal(value, states[1]["body"][name]), name
    assert without_timing(whole) == without_timing(parts)


def without_timing(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "pictures_per_second")} for row in rows]


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Log:
    """A reporter that asks the run to stop after so many steps."""
    asked: list[bool] = []

    class Stopper(Log):
        def step(self, pictures: int, loss: float, lr: float) -> None:
            super().step(pictures, loss, lr)
            if self.steps == steps:
                asked.append(True)

    stop = property(lambda self: bool(asked) and bool(asked.pop()), lambda self, value: None)
    monkeypatch.setattr(StopRequest, "asked", stop, raising=False)
    return Stopper()


def test_a_resumed_epoch_counts_all_of_its_seconds(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four steps, of a second each, three are made before the stop."""
    clock = [0.0]
    monkeypatch.setattr("hswish.train.loop.time", SimpleNamespace(monotonic=lambda: clock[0]))
    step = Learner.step

    def slow(self: Learner, *given: Any) -> Any:
        clock[0] += 1
        return step(self, *given)

    monkeypatch.setattr(Learner, "step", slow)
    with monkeypatch.context() as patch:
        stopper = interrupt_after(3, patch)
        with pytest.raises(Interrupted):
            train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, reporter=stopper, **TINY)
    log = Log()
    resume(tmp_path / "run", reporter=log)
    assert [row["seconds"] for row in log.rows] == [4.0, 4.0, 4.0]


def test_a_run_does_not_lie_inside_its_data(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures would be a class at the next listing, and the run could neither go on nor be evaluated."""
    monkeypatch.chdir(colours)
    for data, out in ((colours, colours / "runs/a"), (".", "runs/a")):
        with pytest.raises(SaveError, match=r"lies inside the data.*--out"):
            train(data, "mobilenet_v3_small", out=out, recipe=FAST, **TINY)
        with pytest.raises(SaveError, match="lies inside the data"):
            dry_run(data, "mobilenet_v3_small", out=out, recipe=FAST, **TINY)
    assert not (colours / "runs").exists()


def test_a_dry_run_minds_no_other_file(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/config.json").write_text("{}")
    teacher = hswish.create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35)
    teacher.describe(classes=open_data(colours).classes)  # type: ignore[operator]
    hswish.save(teacher, tmp_path / "teacher.safetensors")
    taught = {"distill.weight": 0.5, "distill.teacher": str(tmp_path / "teacher.safetensors")}
    dry_run(colours, "mobilenet_v3_small", out=tmp_path / "project", recipe=FAST, changes=taught, **TINY)
    assert (tmp_path / "project/dry-run.png").is_file()


def test_resume_needs_neither_the_old_folder_nor_the_old_data_or_weights(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that were added, another working directory, a start file that is gone: the same run."""
    start = train(colours, "mobilenet_v3_small", out=tmp_path / "start", recipe=FAST, changes={"epochs": 1}, **TINY)
    monkeypatch.chdir(tmp_path)
    runs = [tmp_path / "whole", tmp_path / "parts"]
    weights = Path("start/best.safetensors")
    train("colours", "mobilenet_v3_small", out=runs[0], recipe=FAST, weights=weights, **TINY)
    stopper = interrupt_after(5, monkeypatch)
    with pytest.raises(Interrupted):
        train("colours", "mobilenet_v3_small", out=runs[1], recipe=FAST, weights=weights, reporter=stopper, **TINY)
    start.best.unlink()
    for index in range(5):
        shutil.copy(colours / "red/0.png", colours / "red" / f"more{index}.png")
    monkeypatch.chdir("/")
    resume(runs[1])
    assert same_weights(runs[0] / "best.safetensors", runs[1] / "best.safetensors")
    assert without_timing(runs[0]) == without_timing(runs[1])
    (colours / "red").rename(colours / "scarlet")
    with pytest.raises(DataError, match="red/"):
        resume(runs[1])


def test_data_that_have_moved_are_written_into_the_runs_configuration(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(colours, "mobilenet_v3_small", out=whole, recipe=FAST, **TINY)
    stopper = interrupt_after(5, monkeypatch)
    with pytest.raises(Interrupted):
        train(colours, "mobilenet_v3_small", out=parts, recipe=FAST, reporter=stopper, **TINY)
    colours.rename(tmp_path / "moved")
    config = parts / "config.json"
    with pytest.raises(DataError) as caught:
        resume(parts)
    assert str(caught.value).startswith(f"{colours}: ")
    assert f"{config}, as `data`" in str(caught.value)
    config.write_text(json.dumps({**json.loads(config.read_text()), "data": str(tmp_path / "moved")}))
    resume(parts)
    assert same_weights(whole / "best.safetensors", parts / "best.safetensors")


def test_bf16_and_its_resume(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = FAST.with_changes({"precision": "bf16-mixed"})
    runs = [tmp_path / "whole", tmp_path / "parts"]
    train(colours, "mobilenet_v3_small", out=runs[0], recipe=recipe, **TINY)
    with pytest.raises(Interrupted):
        train(
            colours, "mobilenet_v3_small", out=runs[1], recipe=recipe, reporter=interrupt_after(3, monkeypatch), **TINY
        )
    resume(runs[1])
    assert same_weights(runs[0] / "best.safetensors", runs[1] / "best.safetensors")


def test_a_killed_loader_says_how_to_go_on(colours: Path, tmp_path: Path) -> None:
    class Killer(Log):
        def step(self, pictures: int, loss: float, lr: float) -> None:
            super().step(pictures, loss, lr)
            if self.steps == 5:
                for child in multiprocessing.active_children():
                    assert child.pid is not None
                    os.kill(child.pid, signal.SIGKILL)
                time.sleep(1)

    run = tmp_path / "run"
    with pytest.raises(HswishError, match=f"loading process was killed.*--resume {run} --workers 0"):
        train(colours, "mobilenet_v3_small", out=run, recipe=FAST, reporter=Killer(), **{**TINY, "workers": 1})
    resume(run, workers=0)
    assert len(without_timing(run)) == 3


def test_contradictions_of_val_show_before_training(squares: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(squares / "masks/val/2.png")
    log = Log()
    with pytest.raises(DataError, match=r"val/2\.png: value 7"):
        train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, reporter=log, workers=0)
    assert log.steps == 0
    assert not (tmp_path / "run").exists()


def test_a_damaged_val_picture_is_said_once(colours: Path, tmp_path: Path) -> None:
    for split, indices in {"train": range(9), "val": range(9, 12)}.items():
        for label in ("blue", "green", "red"):
            (colours / split / label).mkdir(parents=True)
            for index in indices:
                (colours / label / f"{index}.png").rename(colours / split / label / f"{index}.png")
    for label in ("blue", "green", "red"):
        (colours / label).rmdir()
    for index in range(12, 30):
        shutil.copy(colours / "val/red/9.png", colours / "val/red" / f"{index}.png")
    (colours / "val/red/9.png").write_bytes((colours / "val/red/9.png").read_bytes()[:200])
    log = Log()
    train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, reporter=log, **TINY)
    assert sum("val/red/9.png" in note for note in log.notes) == 1


def test_a_mistyped_model_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="did you mean lraspp_mobilenet_v3_small"):
        train("digit-scenes", "lrasp_mobilenet_v3_small", out=tmp_path / "run")


def test_resuming_a_finished_run_changes_nothing(colours: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(colours, "mobilenet_v3_small", out=run, recipe=FAST, changes={"epochs": 1}, **TINY)
    before = (run / "best.safetensors").read_bytes()
    log = Log()
    resume(run, reporter=log)
    assert log.steps == 0
    assert (run / "best.safetensors").read_bytes() == before
    assert any("finished" in note for note in log.notes)


def test_fine_tuning_copies_all_but_the_class_layers(colours: Path, tmp_path: Path) -> None:
    first = train(colours, "mobilenet_v3_small", out=tmp_path / "a", recipe=FAST, **TINY)
    (colours / "red").rename(colours / "crimson")
    log = Log()
    frozen = {"epochs": 1, "lr": 0.0}
    second = train(
        colours, "mobilenet_v3_small", out=tmp_path / "b", recipe=FAST, changes=frozen, weights=first.best,
        reporter=log, **TINY,
    )  # fmt: skip
    ours, theirs = load_file(second.best), load_file(first.best)
    assert torch.equal(ours["head.hidden.weight"], theirs["head.hidden.weight"])
    assert not torch.equal(ours["head.classifier.weight"], theirs["head.classifier.weight"])
    assert any("head.classifier" in note for note in log.notes)
    with pytest.raises(OptionError, match="use --model mobilenet_v3_small"):
        train(colours, "mobilenet_v3_large", out=tmp_path / "c", recipe=FAST, weights=first.best, workers=0)


def test_num_classes_that_contradicts_the_data(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"num_classes is 5, but .*colours has 3 classes"):
        train(colours, "mobilenet_v3_small", out=tmp_path / "run", num_classes=5)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(colours: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(colours, "mobilenet_v3_small", out=run, recipe=FAST, changes={"epochs": 1}, **TINY)
    before = (run / "best.safetensors").read_bytes()
    with pytest.raises(SaveError, match=f"--resume {run}"):
        train(colours, "mobilenet_v3_small", out=run, recipe=FAST, **TINY)
    assert (run / "best.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_with_advice(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(HswishError, match="lower --lr"):
        train(
            colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST,
            changes={"lr": 1e30, "clip_norm": 0.0, "optimizer": "sgd"}, **TINY,
        )  # fmt: skip


def test_one_picture_that_batch_norm_cannot_take(colours: Path, tmp_path: Path) -> None:
    changes = {"batch_size": 1, "height": 32, "width": 32}
    with pytest.raises(OptionError, match="--batch-size 2"):
        train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, **TINY)


@pytest.mark.parametrize("damage", [b"", b"junk", b"\x80\x04cos\nsystem\n(S'true'\ntR."])
def test_a_damaged_checkpoint_is_named(colours: Path, tmp_path: Path, damage: bytes) -> None:
    run = tmp_path / "run"
    train(colours, "mobilenet_v3_small", out=run, recipe=FAST, changes={"epochs": 1}, **TINY)
    (run / "last.ckpt").write_bytes(damage)
    with pytest.raises(ModelFileError, match=r"last\.ckpt"):
        resume(run)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json"):
        resume(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        resume(tmp_path)


def test_a_full_disk_keeps_the_last_checkpoint(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    train(colours, "mobilenet_v3_small", out=run, recipe=FAST, changes={"epochs": 1}, **TINY)
    config = json.loads((run / "config.json").read_text())
    config["recipe"]["epochs"] = 2
    (run / "config.json").write_text(json.dumps(config))
    before = (run / "last.ckpt").read_bytes()

    def full(self: Path, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SaveError, match="disk is full"):
        resume(run)
    monkeypatch.undo()
    assert (run / "last.ckpt").read_bytes() == before
    resume(run)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_one_picture_batches_and_single_class(tmp_path: Path, colours: Path) -> None:
    """13 pictures in batches of 4 leave one over, which batch norm could not take."""
    for label in ("green", "red"):
        for path in (colours / label).iterdir():
            path.unlink()
        (colours / label).rmdir()
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes={"batch_size": 3}, **TINY)
    assert result.metrics["top1"] == 1.0


def test_grey_input(colours: Path, tmp_path: Path) -> None:
    result = train(
        colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes={"epochs": 1}, in_channels=1, **TINY
    )
    model = hswish.load(result.best)
    assert model.preprocess.channels == "L"
    assert hswish.Predictor(result.best)(colours / "red/0.png").label in model.classes


def test_the_kept_network_is_the_average(colours: Path, tmp_path: Path) -> None:
    result = train(
        colours,
        "mobilenet_v3_small",
        out=tmp_path / "run",
        recipe=FAST,
        changes={"ema_decay": 0.9, "epochs": 1},
        **TINY,
    )
    state = torch.load(result.run / "last.ckpt", weights_only=True)
    kept, average = load_file(result.best), state["average"]
    assert all(torch.equal(value, average[f"module.{name}"]) for name, value in kept.items())
