"""Data and losses that break trainers: each ends in the right result or in a clear error."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from safetensors.torch import load_file

import hswish
from hswish.data import PictureDataset
from hswish.spec.errors import DataError, HswishError
from hswish.train import Recipe, Reporter, resume, train

FAST = Recipe(epochs=2, batch_size=4, warmup_epochs=0.5, ema_decay=0.5, lr=5e-3, height=32)
TINY: dict[str, Any] = {"width_mult": 0.35, "workers": 0}


class Notes(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def poison(monkeypatch: pytest.MonkeyPatch, *indices: int, from_epoch: int = 0) -> None:
    """Let training pictures of these indices hold a NaN."""
    plain = PictureDataset.__getitem__

    def item(self: PictureDataset, key: Any) -> Any:
        sample = plain(self, key)
        if self.split == "train" and key[1] in indices and key[0] >= from_epoch:
            sample.picture[0, 0, 0] = float("nan")
        return sample

    monkeypatch.setattr(PictureDataset, "__getitem__", item)


def test_a_loss_that_is_no_number_keeps_the_batch_and_the_run(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops; the batch lies there; and the run goes on from before it, told to leave such steps out."""
    poison(monkeypatch, 5, from_epoch=1)
    run = tmp_path / "run"
    with pytest.raises(HswishError, match=rf"the loss became nan at epoch 2, step \d.*lower --lr.*{run} --on-nan skip"):
        train(colours, "mobilenet_v3_small", out=run, recipe=FAST, **TINY)
    kept = load_file(run / "nan-batch.safetensors")
    count = len(kept["pictures"])
    assert kept["pictures"].shape == (count, 3, 32, 32)
    assert torch.isnan(kept["pictures"]).sum() == 1
    with safetensors.safe_open(run / "nan-batch.safetensors", "pt") as file:
        about = file.metadata()
    assert about["place"].startswith("epoch 2")
    assert len(json.loads(about["names"])) == count
    assert all((colours / name).is_file() for name in json.loads(about["names"]))

    log = Notes()
    resume(run, on_nan="skip", reporter=log)
    assert sum("left out" in note for note in log.notes) == 1
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("passed_over") for row in rows] == [None, 1]
    assert all(torch.isfinite(value).all() for value in load_file(run / "best.safetensors").values())
    assert json.loads((run / "config.json").read_text())["recipe"]["on_nan"] == "skip"


def test_steps_are_not_left_out_for_ever(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, *range(30))
    changes = {"on_nan": "skip", "batch_size": 2}
    with pytest.raises(HswishError, match=r"the loss became nan at epoch 1, step 11 11 times in this epoch"):
        train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, **TINY)


def to_splits(colours: Path, val: dict[str, int]) -> None:
    """Move pictures into train/ and val/: so many of each class into val, the others into train."""
    for label, count in val.items():
        for split in ("train", "val"):
            (colours / split / label).mkdir(parents=True)
        for index in range(12):
            split = "val" if index < count else "train"
            (colours / label / f"{index}.png").rename(colours / split / label / f"{index}.png")
        (colours / label).rmdir()
        for split in ("train", "val"):
            if not any((colours / split / label).iterdir()):
                (colours / split / label).rmdir()


@pytest.mark.parametrize("rule", ["none", "inverse_log", "median"])
def test_a_class_that_val_lacks(colours: Path, tmp_path: Path, rule: str) -> None:
    to_splits(colours, {"blue": 3, "green": 3, "red": 0})
    changes = {"class_weights": rule}
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, **TINY)
    assert hswish.load(result.best).classes == ("blue", "green", "red")
    assert 0 <= result.metrics["top1"] <= 1
    assert all(torch.isfinite(value).all() for value in load_file(result.best).values())


def test_a_class_that_train_lacks_is_named(colours: Path, tmp_path: Path) -> None:
    to_splits(colours, {"blue": 3, "green": 3, "red": 12})
    with pytest.raises(DataError, match="class 'red' is not in train"):
        train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, **TINY)


def test_a_class_that_no_mask_shows(squares: Path, tmp_path: Path) -> None:
    (squares / "classes.txt").write_text("ground\nsquare\nghost\n")
    changes = {"class_weights": "median", "loss.region": "lovasz", "batch_size": 2}
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, **TINY)
    assert 0 < result.metrics["miou"] <= 1


@pytest.mark.parametrize("loss", [{}, {"loss.pixel": "ohem"}, {"loss.region": "dice"}, {"loss.pixel": "focal"}])
def test_masks_without_a_label(squares: Path, tmp_path: Path, loss: dict[str, Any]) -> None:
    """Half the masks are 255 throughout, so whole batches may be: they teach nothing and break nothing."""
    for index in range(0, 8, 2):
        Image.fromarray(np.full((48, 64), 255, np.uint8)).save(squares / f"masks/train/{index}.png")
    changes = {"batch_size": 2, **loss}
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, **TINY)
    assert all(torch.isfinite(value).all() for value in load_file(result.best).values())


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_any_label_is_named(squares: Path, tmp_path: Path, split: str) -> None:
    for mask in (squares / "masks" / split).iterdir():
        Image.fromarray(np.full((48, 64), 255, np.uint8)).save(mask)
    with pytest.raises(DataError, match=f"no pixel of {split} is labelled"):
        train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, **TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (7, 8)])
def test_tiny_pictures(colours: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    for path in colours.rglob("*.png"):
        Image.open(path).resize(size).save(path)
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=replace(FAST, height=None), **TINY)
    assert hswish.Predictor(result.best)(colours / "red/0.png").label in ("blue", "green", "red")


def test_tiny_scenes(squares: Path, tmp_path: Path) -> None:
    """Of 6x8 pixels: enlarged to the least input of 32, and the mask comes back at 6x8."""
    for path in squares.rglob("*.png"):
        Image.open(path).resize((8, 6), Image.Resampling.NEAREST).save(path)
    recipe = replace(FAST, height=None)
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, **TINY)
    assert hswish.Predictor(result.best)(squares / "images/val/0.png").mask.shape == (6, 8)


def test_a_single_class_of_masks(squares: Path, tmp_path: Path) -> None:
    (squares / "classes.txt").write_text("ground\n")
    for mask in (squares / "masks").rglob("*.png"):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, **TINY)
    assert result.metrics["miou"] == 1.0


def test_a_single_class_of_pictures_is_told(colours: Path, squares: Path, tmp_path: Path) -> None:
    """It is trained all the same, and a single class of masks is nothing to warn of."""
    for label in ("green", "red"):
        shutil.rmtree(colours / label)
    (squares / "classes.txt").write_text("ground\n")
    for mask in (squares / "masks").rglob("*.png"):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    log, other = Notes(), Notes()
    train(colours, "mobilenet_v3_small", out=tmp_path / "a", recipe=FAST, reporter=log, **TINY)
    train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "b", recipe=FAST, reporter=other, **TINY)
    (warning,) = [note for note in log.notes if note.startswith("warning")]
    assert warning.startswith(f"warning: {colours}: its only class is blue")
    assert "give each class a folder of its own" in warning
    assert not any("only class" in note for note in other.notes)


@pytest.mark.parametrize(("precision", "able"), [("bf16-mixed", False), ("bf16-mixed", True), ("32-true", False)])
def test_halves_that_the_processor_cannot_multiply_are_told(
    colours: Path, tmp_path: Path, precision: str, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hswish.train.prepare.has_bfloat16", lambda: able)
    log, changes = Notes(), {"precision": precision, "epochs": 1}
    train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, reporter=log, **TINY)
    warnings = [note for note in log.notes if note.startswith("warning")]
    if able or precision == "32-true":
        assert not warnings
    else:
        (warning,) = warnings
        assert "no instructions for bfloat16" in warning
        assert "--set precision=32-true" in warning


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_last_batch_of_one(colours: Path, tmp_path: Path, accumulate: int) -> None:
    """25 training pictures in batches of 4 leave one over, which batch norm could not take."""
    to_splits(colours, {"blue": 4, "green": 4, "red": 4})
    shutil.copy(colours / "train/red/5.png", colours / "train/red/more.png")
    changes = {"accumulate": accumulate}
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, **TINY)
    assert result.epochs == 2


def test_freezing_needs_trained_weights(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(HswishError, match="give some by --weights"):
        train(
            colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST,
            changes={"finetune.freeze_epochs": 1}, **TINY,
        )  # fmt: skip


def test_the_largest_batch_leaves_room_for_what_else_lies_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held pictures, 31 MB of these 40; and the same by each of two processes on one machine."""
    from types import SimpleNamespace

    from hswish.train import largest_batch
    from hswish.train.devices import Devices

    monkeypatch.setattr(largest_batch, "free_bytes", lambda: 40_000_000)
    model = hswish.create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35)
    model.describe(preprocess=replace(model.preprocess, height=32, width=32))  # type: ignore[operator, arg-type, type-var]
    alone, held = (
        largest_batch.largest_batch(model, FAST.with_changes({"held": flag}), Devices(), 10_000)  # type: ignore[arg-type]
        for flag in (False, True)
    )
    assert 2 <= held < alone / 2
    cpu = torch.device("cpu")
    for count in (1, 2):
        several: Any = SimpleNamespace(device=cpu, local_world_size=count)
        assert largest_batch._free_bytes(several) == 40_000_000 // count


def test_the_largest_batch_becomes_part_of_the_run(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 4 MB to spare it is small; with much, all pictures at once; and the run is that of the number found."""
    from hswish.train import largest_batch

    found, log = {}, Notes()
    for megabytes in (4, 4000):
        monkeypatch.setattr(largest_batch, "_free_bytes", lambda device, size=megabytes: size << 20)
        run, how = (
            tmp_path / str(megabytes),
            {"recipe": FAST, "changes": {"batch_size": "auto"}, "reporter": log, **TINY},
        )
        train(colours, "mobilenet_v3_small", out=run, **how)
        found[megabytes] = json.loads((run / "config.json").read_text())["recipe"]["batch_size"]
    assert 2 <= found[4] < found[4000] == 24  # of 30 pictures, a multiple of 8
    rate = "the recipe's learning rate is for 4"
    assert [note for note in log.notes if note.startswith("batch size")] == [
        f"batch size {found[4]}: the largest that fits; {rate}",
        f"batch size 24: as many as the training pictures allow; {rate}",
    ]
    same = tmp_path / "same"
    train(colours, "mobilenet_v3_small", out=same, recipe=FAST, changes={"batch_size": 24}, **TINY)
    ours, theirs = load_file(same / "best.safetensors"), load_file(tmp_path / "4000/best.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours), "measuring leaves no trace"
