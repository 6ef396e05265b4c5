"""Tiny data sets on disk, made anew for each test."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def noise(seed: int, height: int = 12, width: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def classes_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write `{"train/cat": 3, ...}`: so many PNGs in each folder."""

    def make(counts: dict[str, int], root: str = "set") -> Path:
        seed = 0
        for folder, count in counts.items():
            place = tmp_path / root / folder
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noise(seed).save(place / f"{number:03d}.png")
                seed += 1
        return tmp_path / root

    return make


@pytest.fixture
def scenes_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write pictures 16x12 with masks of three classes: `{"train": 3, ...}`, or `{"": 3}` without splits."""

    def make(counts: dict[str, int], root: str = "scenes", classes: str = "sky\nroad\ncar\n") -> Path:
        place = tmp_path / root
        for split, count in counts.items():
            for number in range(count):
                picture = place / "images" / split / f"{number:03d}.jpg"
                mask = place / "masks" / split / f"{number:03d}.png"
                picture.parent.mkdir(parents=True, exist_ok=True)
                mask.parent.mkdir(parents=True, exist_ok=True)
                noise(number).save(picture)
                values = np.random.default_rng(number).choice([0, 1, 2, 255], (12, 16)).astype(np.uint8)
                Image.fromarray(values).save(mask)
        (place / "classes.txt").write_text(classes)
        return place

    return make


@pytest.fixture
def zip_of() -> Callable[..., Path]:
    """Zip a folder, its own name as the one top folder unless `top` is false."""

    def make(folder: Path, top: bool = True) -> Path:
        path = folder.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*"), reverse=True):
                archive.write(file, file.relative_to(folder.parent if top else folder))
        return path

    return make
