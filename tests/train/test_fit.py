"""Runs from start to end: they learn, can be interrupted anywhere, and are reproducible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hswish
from hswish.spec.errors import DataError, HswishError, ModelFileError, OptionError, SaveError
from hswish.train import Interrupted, Recipe, Reporter, resume, train
from hswish.train.interrupt import StopRequest
from hswish.train.loop import Trainer

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


def same_weights(first: Path, second: Path) -> bool:
    ours, theirs = load_file(first), load_file(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_classifier_learns_and_leaves_everything_behind(colours: Path, tmp_path: Path) -> None:
    log = Log()
    recipe = FAST.with_changes({"epochs": 12, "ema_decay": 0.0, "bn_momentum": 0.3})
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, reporter=log, **TINY)
    assert result.metrics["top1"] >= 0.9
    names = {path.name for path in result.run.iterdir()}
    assert names == {
        "config.json", "splits.json", "metrics.jsonl", "best.safetensors", "last.ckpt", "curves.png", "predictions.png",
    }  # fmt: skip
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows == log.rows
    assert rows[-1]["loss"] < rows[0]["loss"]
    model = hswish.load(result.best)
    assert model.classes == ("blue", "green", "red")
    assert model.description.provenance["pictures"] == {"train": 30, "val": 6}
    assert any("held out" in note for note in log.notes), "the split that was made is printed"


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

    class Stopper(Log):
        def step(self, pictures: int, loss: float, lr: float) -> None:
            super().step(pictures, loss, lr)
            if self.steps == stop_at:
                asked.append(True)

    asked: list[bool] = []
    monkeypatch.setattr(
        StopRequest, "asked", property(lambda self: bool(asked), lambda self, value: None), raising=False
    )
    with pytest.raises(Interrupted, match=f"hswish train --resume {parts}"):
        train(colours, "mobilenet_v3_small", out=parts, recipe=FAST, reporter=Stopper(), **TINY)
    asked.clear()
    log = Log()
    resume(parts, reporter=log)
    assert log.steps == 12 - stop_at
    assert same_weights(whole / "best.safetensors", parts / "best.safetensors")
    states = [torch.load(run / "last.ckpt", weights_only=True) for run in (whole, parts)]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, parts)]
    timing = ("seconds", "pictures_per_second")
    assert [{k: v for k, v in row.items() if k not in timing} for row in rows[0]] == [
        {k: v for k, v in row.items() if k not in timing} for row in rows[1]
    ]


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
    assert Trainer.kept.fget is not None
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
