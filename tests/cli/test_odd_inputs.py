"""Inputs that are odd but legal work; those that never end are refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hswish.runtime.sources
from hswish.cli.predict import _found
from hswish.runtime.sources import Video
from tests.cli.conftest import QUICK, make_pictures, make_scenes, noise, zipped

ODD_NAMES = (
    "[red]%s :cat: ü.png",
    "new\nline\x1b[31m.png",
    " lead  two .png",
    "UPPER.PNG",
    "-1.png",
    "a.b.c.jpeg",
    "é" * 120 + ".png",
)


@pytest.fixture
def oddities(tmp_path: Path) -> Path:
    """Pictures with odd names, and a link to the folder above."""
    folder = tmp_path / "odd [1] set"
    (folder / "x.jpg").mkdir(parents=True)
    (folder / "loop").mkdir()
    (folder / "loop" / "up").symlink_to("..")
    for number, name in enumerate((*ODD_NAMES, "x.jpg/in.png", os.fsdecode(b"bad\xff.png"))):
        noise(number).save(io.BytesIO(), "PNG")
        with open(folder / name, "wb") as file:
            noise(number).save(file, "PNG")
    return folder


def test_odd_names_are_predicted_and_written(oddities: Path, segmenter: Path, tmp_path: Path, hswish_cli) -> None:
    count = len(ODD_NAMES) + 2
    outcome = hswish_cli("predict", segmenter, oddities, "-o", tmp_path / "drawn").success()
    assert len(outcome.out.splitlines()) == count
    assert "[red]%s :cat: ü.png  " in outcome.out
    assert r"new\nline\x1b[31m.png" in outcome.out
    assert len(list((tmp_path / "drawn").rglob("*.mask.png"))) == count
    results = [
        json.loads(line) for line in hswish_cli("predict", segmenter, oddities, "--json").success().out.splitlines()
    ]
    assert {Path(result["name"]).name for result in results} >= set(ODD_NAMES)
    assert all(Path(result["mask"]).is_file() for result in results)


def test_a_glob_goes_through_a_loop_once(oddities: Path, classifier: Path, hswish_cli, monkeypatch) -> None:
    monkeypatch.chdir(oddities)
    names = [
        json.loads(line)["name"]
        for line in hswish_cli("predict", classifier, "**", "--json").success().out.splitlines()
    ]
    assert sorted(names) == sorted([*ODD_NAMES, "x.jpg/in.png", os.fsdecode(b"bad\xff.png")])


def test_a_list_of_odd_paths(oddities: Path, classifier: Path, hswish_cli, monkeypatch) -> None:
    names = [" lead  two .png", "-1.png", os.fsdecode(b"bad\xff.png")]
    monkeypatch.chdir(oddities)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode("\n".join(names)))))
    results = hswish_cli("predict", classifier, "-", "--json").success().out.splitlines()
    assert [json.loads(line)["name"] for line in results] == names


def test_odd_names_are_trained_on(oddities: Path, tmp_path: Path, hswish_cli) -> None:
    for name in ("[/x] :cat:", "%s"):
        shutil.copytree(oddities, tmp_path / "data" / name, ignore=shutil.ignore_patterns("loop"), symlinks=True)
    out = tmp_path / "run here"
    outcome = hswish_cli("train", tmp_path / "data", "-m", "mobilenet_v3_small", *QUICK, "-o", out)
    assert "'/x] :cat:'" not in outcome.err
    outcome.success()
    hswish_cli("eval", out / "best.safetensors", tmp_path / "data", "--workers", 0).success()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_what_has_no_end_is_refused(made: Path, classifier: Path, tmp_path: Path, hswish_cli, monkeypatch) -> None:
    for name in ("pipe.png", "pipe.zip", "pipe"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.png", tmp_path / "zero.png", tmp_path / "pipe.zip", "/dev/zero"):
        hswish_cli("predict", classifier, path).error(path, "not a regular file")
    for path in (tmp_path / "pipe", tmp_path / "pipe.zip", "/dev/zero"):
        hswish_cli("eval", classifier, path).error(path, "is neither a folder nor a .zip")
        hswish_cli("info", tmp_path / "pipe").error(tmp_path / "pipe", "not a regular file")
    monkeypatch.setattr(hswish.runtime.sources, "_MAX_STDIN_BYTES", 2**20)
    with open("/dev/zero") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        hswish_cli("predict", classifier, "-").error(
            "standard input: more than 1,048,576 bytes; give the picture's path"
        )


def test_pipes_and_loops_in_a_data_set(classifier: Path, tmp_path: Path, hswish_cli) -> None:
    data = make_pictures(tmp_path / "data", 10)
    os.mkfifo(data / "cat" / "pipe.png")
    (data / "cat" / "up").symlink_to("..")
    (data / "dog" / "nowhere.png").symlink_to("gone")
    hswish_cli("train", data, "-m", "mobilenet_v3_small", *QUICK, "-o", tmp_path / "run").success()
    hswish_cli("eval", classifier, data, "--workers", 0).success()


def test_standard_input_that_is_nothing(classifier: Path, hswish_cli, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    hswish_cli("predict", classifier, "-").error("standard input is empty; pipe a picture or a list of paths into it")


def test_a_list_that_names_nothing(classifier: Path, hswish_cli, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"gone.png\n")))
    hswish_cli("predict", classifier, "-").error("standard input (whose first line names no file): not a picture")


def test_a_video_in_a_list_is_not_decoded_before_its_turn(made: Path, tmp_path: Path, monkeypatch) -> None:
    """Its frames would fill the memory: it stays whole beside the pictures that were found."""
    (tmp_path / "clip.mp4").write_bytes(b"a video in name")
    picture = next((made / "pictures/cat").iterdir())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{picture}\n{tmp_path}/clip.mp4\n".encode())))
    found, count = _found(["-"])
    assert [found[0].name, found[1]] == [str(picture), Video(f"{tmp_path}/clip.mp4")]
    assert count == 2


# --------------------------------------------------------------------------------------
# Odd data sets
# --------------------------------------------------------------------------------------


def train(hswish_cli, data: Path, out: Path, task: str = "classification"):
    model = "mobilenet_v3_small" if task == "classification" else "lraspp_mobilenet_v3_small"
    return hswish_cli("train", data, "-m", model, *QUICK, "-o", out)


def test_the_smallest_data_sets(tmp_path: Path, hswish_cli) -> None:
    alone = make_pictures(tmp_path / "alone", 1, classes=("cat",))
    train(hswish_cli, alone, tmp_path / "run").error(alone, "no pictures to validate on")
    pair = make_pictures(tmp_path / "pair", 1)
    train(hswish_cli, pair, tmp_path / "run").error(pair, "no pictures to validate on")
    split = make_pictures(tmp_path / "split", 1, splits=("train", "val"))
    train(hswish_cli, split, tmp_path / "run").success()
    scene = make_scenes(tmp_path / "scene", 1)
    train(hswish_cli, scene, tmp_path / "run2", "segmentation").error(scene, "no pictures to validate on")
    scenes = make_scenes(tmp_path / "scenes", 1, splits=("train", "val"))
    train(hswish_cli, scenes, tmp_path / "run3", "segmentation").success()


def test_a_batch_of_one(tmp_path: Path, hswish_cli) -> None:
    one = make_pictures(tmp_path / "one", 1, classes=("cat",), splits=("train", "val"))
    train(hswish_cli, one, tmp_path / "run").error("one picture", "use --batch-size 2 or more, a larger --size")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)], ids=str)
def test_thin_pictures(size: tuple[int, int], classifier: Path, segmenter: Path, tmp_path: Path, hswish_cli) -> None:
    data = make_pictures(tmp_path / "data", 3)
    for path in data.rglob("*.png"):
        noise(1, *size).save(path)
    train(hswish_cli, data, tmp_path / "run").success()
    hswish_cli("eval", classifier, data, "--workers", 0).success()
    hswish_cli("predict", classifier, data, "-o", tmp_path / "drawn").success()
    scenes = make_scenes(tmp_path / "scenes", 3, size=size)
    for path in (scenes / "masks").iterdir():
        Image.fromarray(np.ones(size, np.uint8)).save(path)
    train(hswish_cli, scenes, tmp_path / "run2", "segmentation").success()
    hswish_cli("eval", segmenter, scenes, "--workers", 0).success()
    hswish_cli("predict", segmenter, scenes / "images", "-o", tmp_path / "drawn2").success()


@pytest.mark.parametrize(
    "text", [b"\xef\xbb\xbfsky\r\nroad\r\ncar\r\n", b"sky\nroad\ncar", b" sky\t\n road \ncar\n\n\n"]
)
def test_classes_written_on_other_systems(text: bytes, scenes: Path, segmenter: Path, hswish_cli) -> None:
    (scenes / "classes.txt").write_bytes(text)
    outcome = hswish_cli("eval", segmenter, scenes, "--workers", 0, "--json").success()
    assert list(json.loads(outcome.out)["per_class"]) == ["sky", "road", "car"]


def test_pictures_of_one_stem(pictures: Path, scenes: Path, segmenter: Path, tmp_path: Path, hswish_cli) -> None:
    twin = pictures / "cat" / "00.jpg"
    noise(1).save(twin)
    train(hswish_cli, pictures, tmp_path / "run").success()
    outcome = hswish_cli("predict", segmenter, pictures / "cat", "-o", tmp_path / "drawn", "--json").success()
    assert len({json.loads(line)["mask"] for line in outcome.out.splitlines()}) == 7
    noise(1).save(scenes / "images" / "00.png")
    train(hswish_cli, scenes, tmp_path / "run2", "segmentation").error("00.", "pairs are not clear; rename one")


def test_upper_case_and_read_only_files(classifier: Path, tmp_path: Path, hswish_cli) -> None:
    data = make_pictures(tmp_path / "data")
    for path in data.rglob("*.png"):
        path.chmod(0o444)
        path.rename(path.with_suffix(".PNG"))
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    train(hswish_cli, zipped(data), tmp_path / "run").success()
    train(hswish_cli, data, tmp_path / "run2").success()
    hswish_cli("eval", classifier, data, "--workers", 0).success()
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_batches_larger_than_the_data(made: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    huge = ("--batch-size", 10**11)
    hswish_cli("predict", classifier, made / "pictures", *huge).success()
    hswish_cli("eval", classifier, made / "pictures", "--workers", 0, *huge).success()
    flags = [flag for flag in QUICK if flag not in ("--batch-size", 4)]
    hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *flags, *huge, "-o", tmp_path / "run").success()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_pictures_of_every_mode(mode: str, segmenter: Path, tmp_path: Path, hswish_cli) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture = noise(1, 20, 30)
    image = (
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) << 8)
        if mode == "I;16"
        else picture.convert(mode)
    )
    image.save(path)
    outcome = hswish_cli("predict", segmenter, path, "-o", tmp_path / "drawn", "--json").success()
    assert Image.open(json.loads(outcome.out)["mask"]).size == (30, 20)
