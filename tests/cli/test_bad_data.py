"""Data sets that are missing, malformed or damaged: one line that names the file and the remedy."""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import QUICK, make_pictures, make_scenes, noise, zipped

MODELS = {"classification": "mobilenet_v3_small", "segmentation": "lraspp_mobilenet_v3_small"}


@pytest.fixture
def refuse(made: Path, tmp_path: Path, hswish_cli):
    """Give a data set to `train` and to `eval`: both refuse it with the same words, and nothing is written."""

    def check(data: Path | str, task: str, *words: object, commands: str = "train eval") -> None:
        model = made / ("classifier.safetensors" if task == "classification" else "segmenter.safetensors")
        if "train" in commands:
            hswish_cli("train", data, "-m", MODELS[task], *QUICK, "-o", tmp_path / "run").error(*words)
            assert not (tmp_path / "run" / "best.safetensors").exists()
        if "eval" in commands:
            hswish_cli("eval", model, data, "--workers", 0).error(*words)

    return check


@pytest.mark.parametrize("task", MODELS)
def test_missing_and_empty(task: str, refuse, tmp_path: Path) -> None:
    refuse(tmp_path / "gone", task, tmp_path / "gone", "no such folder or zip; check the path")
    refuse("digit", task, "digit: no such folder or zip; did you mean the built-in digits?")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", task, tmp_path / "empty", "no pictures in it; expected SPLIT/CLASS/picture.jpg")


def test_missing_and_empty_for_predict(classifier: Path, tmp_path: Path, hswish_cli) -> None:
    (tmp_path / "empty").mkdir()
    hswish_cli("predict", classifier, tmp_path / "gone").error(tmp_path / "gone", "no such file or folder; check")
    hswish_cli("predict", classifier, tmp_path / "empty").error(tmp_path / "empty", "no pictures in this folder")
    hswish_cli("predict", classifier, f"{tmp_path}/*.jpg").error("*.jpg", "no picture matches", "check the pattern")


def test_a_class_without_pictures(pictures: Path, refuse) -> None:
    (pictures / "emu").mkdir()
    refuse(pictures, "classification", pictures / "emu", "class folder without pictures; fill or remove it")
    (pictures / "emu" / "a.jpg").touch()
    refuse(pictures, "classification", pictures / "emu", "every picture of this class is empty")


def test_loose_pictures_and_unknown_classes(pictures: Path, made: Path, refuse, tmp_path: Path) -> None:
    shutil.copytree(pictures / "cat", pictures / "cow")
    refuse(pictures, "classification", "'cow'", "train on this data", commands="eval")
    noise(1).save(pictures / "loose.png")
    refuse(pictures, "classification", pictures / "loose.png", "lies in no class folder; move it into CLASS/")
    refuse(made / "scenes", "classification", "images/ and masks/ make it segmentation")
    refuse(made / "pictures", "segmentation", "segmentation needs images/ and masks/ with classes.txt")


def test_a_class_that_train_lacks(tmp_path: Path, refuse) -> None:
    data = make_pictures(tmp_path / "data", 1, splits=("train", "val"))
    shutil.copytree(data / "val" / "cat", data / "val" / "cow")
    refuse(data, "classification", data / "val" / "cow", "is not in train; add it there or correct its name")


def test_pictures_and_masks_that_are_no_pairs(scenes: Path, refuse) -> None:
    lost = scenes / "masks" / "03.png"
    kept = lost.read_bytes()
    lost.unlink()
    refuse(scenes, "segmentation", scenes / "images" / "03.jpg", "has no mask; expected masks/03.png, or remove")
    lost.write_bytes(kept)
    (scenes / "images" / "02.jpg").unlink()
    refuse(scenes, "segmentation", scenes / "masks" / "02.png", "a mask without a picture", "add or remove one")


def test_a_mask_of_another_size(scenes: Path, refuse) -> None:
    for path in sorted((scenes / "masks").iterdir()):
        Image.open(path).resize((16, 32)).save(path)
    refuse(scenes, "segmentation", scenes / "masks", "the mask is 16x32 pixels", "32x32; both need one size")


def test_an_index_without_a_class(scenes: Path, refuse) -> None:
    for path in sorted((scenes / "masks").iterdir()):
        Image.fromarray(np.full((32, 32), 7, np.uint8)).save(path)
    refuse(scenes, "segmentation", scenes / "masks", "value 7, but classes.txt names 3 classes (0 to 2); 255 means")


def test_a_colour_mask(scenes: Path, refuse) -> None:
    for path in sorted((scenes / "masks").iterdir()):
        noise(1).save(path)
    refuse(scenes, "segmentation", scenes / "masks", "a mask holds one class index a pixel", "save it as 8-bit grey")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "missing; write one class name a line"),
        (b"", "is empty; write one class name a line"),
        (b"sky\n\nroad\ncar\n", "line 2 is blank and would shift the classes below; name or remove it"),
        (b"sky\nroad\nsky\n", "class 'sky' stands on lines 1 and 3; keep one"),
        (b"\xff\xfe\x00", "is not UTF-8 text; save it anew"),
    ],
)
def test_classes_that_are_none(text: bytes | None, words: str, scenes: Path, refuse) -> None:
    (scenes / "classes.txt").unlink()
    if text is not None:
        (scenes / "classes.txt").write_bytes(text)
    refuse(scenes, "segmentation", scenes / "classes.txt", words)


def test_nothing_labelled(scenes: Path, made: Path, tmp_path: Path, hswish_cli) -> None:
    for path in (scenes / "masks").iterdir():
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(path)
    outcome = hswish_cli("train", scenes, "-m", MODELS["segmentation"], *QUICK, "-o", tmp_path / "run")
    outcome.error(scenes, "no pixel of train is labelled, every mask is 255 throughout")
    hswish_cli("eval", made / "segmenter.safetensors", scenes, "--workers", 0).tidy()


# --------------------------------------------------------------------------------------
# Damaged pictures: a few are skipped and listed, many end the run
# --------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"I am no picture\n" * 50}[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_one_damaged_picture_in_twenty(how: str, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    data = make_pictures(tmp_path / "data", 10)
    victim = data / "dog" / "07.png"
    damage(victim, how)
    arguments = ("train", data, "-m", MODELS["classification"], *QUICK, "-o", tmp_path / "run")
    trained = hswish_cli(*arguments).success()
    measured = hswish_cli("eval", classifier, make_split(data, tmp_path), "--workers", 0).success()
    predicted = hswish_cli("predict", classifier, data).success()
    for outcome in (trained, predicted):
        (line,) = outcome.warnings
        assert f"skipped {victim}: " in line
    assert len(predicted.out.splitlines()) == 19
    assert [line for line in measured.warnings if "07.png: " in line] or how == "empty"


def make_split(data: Path, tmp_path: Path) -> Path:
    """The same pictures, all of them in val."""
    for split in ("train", "val"):
        shutil.copytree(data, tmp_path / "split" / split)
    return tmp_path / "split"


@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_more_than_a_tenth_damaged(how: str, pictures: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    victims = sorted((pictures / "cat").iterdir())[:3]
    for victim in victims:
        damage(victim, how)
    arguments = ("train", pictures, "-m", MODELS["classification"], *QUICK, "-o", tmp_path / "run")
    hswish_cli(*arguments).error("files cannot be used, more than 10%; repair or remove them, first ", "cat/0")
    data = make_split(pictures, tmp_path)
    hswish_cli("eval", classifier, data, "--workers", 0).error("more than 10%; repair or remove them, first ", "cat/0")
    outcome = hswish_cli("predict", classifier, pictures)
    outcome.error("3 of 12 files could not be read (listed above); remove or replace them")
    assert len(outcome.out.splitlines()) == 9
    assert [line.split(": ")[1] for line in outcome.warnings] == [f"skipped {victim}" for victim in victims]
    hswish_cli("predict", classifier, victims[0]).error(victims[0])


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few dozen bytes that promises gigabytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_decompression_bombs(classifier: Path, tmp_path: Path, hswish_cli, monkeypatch) -> None:
    data = make_pictures(tmp_path / "data", 10)
    (data / "dog" / "07.png").write_bytes(bomb())
    words = "07.png: more pixels than the 178,956,970 allowed; scale it down"
    outcome = hswish_cli("train", data, "-m", MODELS["classification"], *QUICK, "-o", tmp_path / "run").success()
    assert words in "".join(outcome.warnings)
    assert words in "".join(
        hswish_cli("eval", classifier, make_split(data, tmp_path), "--workers", 0).success().warnings
    )
    hswish_cli("predict", classifier, data / "dog" / "07.png").error(words)


# --------------------------------------------------------------------------------------
# Archives
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["../evil.png", "a/../../evil.png", "/evil.png", "..\\evil.png"])
def test_an_archive_that_points_outside(entry: str, made: Path, classifier: Path, tmp_path, refuse, hswish_cli) -> None:
    path = tmp_path / "deep" / "er" / "set.zip"
    path.parent.mkdir(parents=True)
    picture = (made / "pictures" / "cat" / "00.png").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/a.png", picture)
        archive.writestr("dog/a.png", picture)
        archive.writestr(entry, picture)
    refuse(path, "classification", path, "points outside the archive; zip the folder anew")
    hswish_cli("predict", classifier, path, "-o", path.parent / "out").success()
    written = {file.relative_to(path.parent).as_posix() for file in tmp_path.rglob("*.png") if "out" not in file.parts}
    assert not written
    assert not list(Path("/").glob("evil*"))


def test_broken_archives(pictures: Path, classifier: Path, tmp_path: Path, refuse, hswish_cli) -> None:
    path = zipped(pictures)
    path.write_bytes(path.read_bytes()[:-30])
    refuse(path, "classification", path, "not a readable zip", "copy or download it again")
    hswish_cli("predict", classifier, path).error(path, "not a readable .zip file", "fetch or pack it again")
    (tmp_path / "notes.txt").write_text("hello")
    refuse(tmp_path / "notes.txt", "classification", "notes.txt: is neither a folder nor a .zip; unpack it")


def test_scenes_with_few_damaged_files_train(tmp_path: Path, hswish_cli) -> None:
    data = make_scenes(tmp_path / "data", 40)
    damage(data / "images" / "05.jpg", "truncated")
    damage(data / "masks" / "09.png", "text")
    outcome = hswish_cli("train", data, "-m", MODELS["segmentation"], *QUICK, "-o", tmp_path / "run").success()
    assert {Path(line.split(": ")[0]).name for line in outcome.warnings} <= {"05.jpg", "09.png"}
    assert outcome.warnings
