"""What lets a user see: the dry run, TensorBoard, and the suspects of an evaluation, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, make_pictures


def test_a_dry_run_prints_a_line_a_subject_and_leaves_a_picture(hswish_cli, scenes, tmp_path):
    flags = ("-m", "lraspp_mobilenet_v3_small", *QUICK, "--dry-run")
    done = hswish_cli("train", scenes, *flags).success()
    subjects = [line.split()[0] for line in done.out.splitlines()]
    assert subjects == ["data", "classes", "pictures", "samples", "epoch", "run", "memory", "loss"]
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["dry-run.png"]
    found = json.loads(hswish_cli("train", scenes, *flags, "-o", tmp_path / "run", "--json").success().out)
    assert found["picture"] == str(tmp_path / "run/dry-run.png")
    assert found["batch_size"] == 4
    assert found["run_seconds"] > 0


def test_a_dry_run_goes_with_no_resume(hswish_cli, tmp_path):
    hswish_cli("train", "--resume", tmp_path, "--dry-run").error("--resume takes everything from the run")


def test_events_for_tensorboard(hswish_cli, pictures, tmp_path):
    pytest.importorskip("tensorboard")
    hswish_cli("train", pictures, "-m", "mobilenet_v3_small", "-o", tmp_path / "run", *QUICK, "--tensorboard").success()
    assert list((tmp_path / "run/tensorboard").glob("events.out.tfevents.*"))
    hswish_cli("train", "--resume", tmp_path / "run", "--tensorboard", "--workers", 0).success()


def test_suspects_are_listed_and_drawn(hswish_cli, classifier, segmenter, pictures, scenes, tmp_path):
    make_pictures(pictures, count=20)
    for model, data, place in ((classifier, pictures, tmp_path / "a"), (segmenter, scenes, tmp_path / "b")):
        flags = ("--split", "train", "--workers", 0, "--suspects", 3, "-o", place, "--json")
        done = hswish_cli("eval", model, data, *flags).success()
        json.loads(done.out)
        found = json.loads((place / "suspects.json").read_text())
        assert len(found) == 3
        assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
        assert all(row["truth"] != row["predicted"] for row in found)
        assert (place / "suspects.png").stat().st_size > 1000
        assert "3 label suspects" in done.err


def test_without_a_suspect_no_picture_of_earlier_ones_is_left(hswish_cli, classifier, tmp_path):
    """It would contradict the empty list."""
    data, place = make_pictures(tmp_path / "data", splits=("train", "val")), tmp_path / "s"
    flags = ("--workers", 0, "--suspects", 12, "-o", place)
    hswish_cli("eval", classifier, data, *flags).success()
    assert (place / "suspects.png").is_file()
    for row in json.loads((place / "suspects.json").read_text()):  # now the labels are what the model answers
        picture = Path(row["name"])
        picture.rename(data / "val" / row["predicted"] / f"{picture.parent.name}{picture.name}")
    for folder in data.glob("val/*"):
        if not any(folder.iterdir()):
            folder.rmdir()
    for _ in range(2):
        done = hswish_cli("eval", classifier, data, *flags).success()
        assert "no picture of val is answered wrongly" in done.err
        assert json.loads((place / "suspects.json").read_text()) == []
        assert not (place / "suspects.png").exists()


def test_nothing_is_written_into_the_data(hswish_cli, classifier, pictures, tmp_path, monkeypatch):
    """A picture there would be taken for data the next time: `--out` is the working folder, where none is given."""
    before = sorted(pictures.rglob("*"))
    monkeypatch.chdir(pictures)
    flags = ("--split", "train", "--workers", 0)
    for data in (".", pictures, f"../{pictures.name}"):
        done = hswish_cli("eval", classifier, data, *flags, "--suspects", 3)
        done.error("lies inside the data", "choose another folder by --out")
    hswish_cli("eval", classifier, ".", *flags, "--confusion", "train/confusion.png").error(
        "lies inside the data", "choose another folder by --confusion"
    )
    hswish_cli("eval", classifier, ".", *flags, "--suspects", 3, "-o", "../beside").success()
    hswish_cli("eval", classifier, ".", *flags).success()
    assert sorted(pictures.rglob("*")) == before


def test_a_file_that_answers_masks_has_no_suspects(hswish_cli, segmenter, scenes, tmp_path):
    """They are ranked by confidence; said before the pictures are gone through."""
    pytest.importorskip("onnxruntime")
    flags = ("--format", "onnx", "--embed", "argmax", "--data", scenes, "--out", tmp_path)
    hswish_cli("export", segmenter, *flags).success()
    file = next(tmp_path.glob("*.onnx"))
    done = hswish_cli("eval", file, scenes, "--suspects", 2, "--out", tmp_path / "s")
    done.error("--suspects needs confidences")
    assert not (tmp_path / "s").exists()
