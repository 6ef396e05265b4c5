"""The command line as a user types it, run in this process; tiny data sets and models to give it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hswish
from hswish.cli import run

QUICK = ("--epochs", 1, "--size", 32, "--width-mult", 0.25, "--workers", 0, "--batch-size", 4)
"""Flags of `train` that make it a matter of a second."""
ANSI = re.compile(r"\x1b")


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and its two streams."""

    status: int
    out: str
    err: str

    def success(self) -> Outcome:
        assert self.status == 0, self.err
        assert "error:" not in self.err
        return self.tidy()

    def error(self, *words: str) -> str:
        """The one error line, which names all of `words`; everything else about a refusal is checked too."""
        assert self.status == 2, f"exit status {self.status}: {self.err}"
        lines = [line for line in self.err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, self.err
        for word in words:
            assert str(word) in lines[0], f"{word!r} is not in: {lines[0]}"
        self.tidy()
        return lines[0]

    def tidy(self) -> Outcome:
        assert "Traceback" not in self.out + self.err
        assert not ANSI.search(self.out + self.err)
        for line in self.err.splitlines():
            assert line.strip(), f"a blank line: {self.err!r}"
        return self

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(("warning: skipped ", "skipped "))]


@pytest.fixture
def hswish_cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`hswish_cli("eval", model, data)`: runs the command here and now."""

    def call(*arguments: Any) -> Outcome:
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


def command(*arguments: Any) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-c", "from hswish.cli import main; main()", *map(str, arguments)]


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def noise(seed: int, height: int = 32, width: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def make_pictures(root: Path, count: int = 6, classes: tuple[str, ...] = ("cat", "dog"), splits=("",)) -> Path:
    """`count` noise pictures a class and split."""
    seed = 0
    for split in splits:
        for name in classes:
            place = root / split / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noise(seed).save(place / f"{number:02d}.png")
                seed += 1
    return root


def make_scenes(root: Path, count: int = 6, splits=("",), size: tuple[int, int] = (32, 32)) -> Path:
    """`count` noise pictures a split with masks of three classes and unlabelled pixels."""
    for split in splits:
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            noise(number, *size).save(root / "images" / split / f"{number:02d}.jpg")
            mask = np.random.default_rng(number).choice([0, 1, 2, 255], size).astype(np.uint8)
            Image.fromarray(mask).save(root / "masks" / split / f"{number:02d}.png")
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    return root


def zipped(folder: Path, top: bool = True) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent if top else folder))
    return path


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for one another make a tiny network many times slower where other tests run beside."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data that tests only read."""
    place = tmp_path_factory.mktemp("made")
    make_pictures(place / "pictures")
    make_scenes(place / "scenes")
    for name, file, classes in (
        ("mobilenet_v3_small", "classifier", ("cat", "dog")),
        ("lraspp_mobilenet_v3_small", "segmenter", ("sky", "road", "car")),
    ):
        model = hswish.create_model(name, num_classes=len(classes), width_mult=0.25)
        model.describe(classes=classes, preprocess=replace(model.preprocess, height=32, width=32))
        hswish.save(model, place / f"{file}.safetensors")
    return place


@pytest.fixture
def classifier(made: Path) -> Path:
    return made / "classifier.safetensors"


@pytest.fixture
def segmenter(made: Path) -> Path:
    return made / "segmenter.safetensors"


@pytest.fixture
def pictures(made: Path, tmp_path: Path) -> Path:
    """Twelve pictures in two classes, the test's own."""
    return Path(shutil.copytree(made / "pictures", tmp_path / "pictures"))


@pytest.fixture
def scenes(made: Path, tmp_path: Path) -> Path:
    """Six pictures with masks, the test's own."""
    return Path(shutil.copytree(made / "scenes", tmp_path / "scenes"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults such as runs/ and predictions/ must not end up in the repository."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
