"""Small data sets that train in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Three classes of plain colours with noise: 12 pictures of 32x32 each."""
    rng = np.random.default_rng(0)
    for label, colour in {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}.items():
        folder = tmp_path / "colours" / label
        folder.mkdir(parents=True)
        for index in range(12):
            pixels = np.array(colour) + rng.integers(-40, 41, (32, 32, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "colours"


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Bright squares on dark ground with their masks: 8 train and 4 val pictures of 48x64."""
    rng = np.random.default_rng(0)
    root = tmp_path / "squares"
    for split, count in {"train": 8, "val": 4}.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            picture, mask = rng.integers(0, 60, (48, 64, 3)), np.zeros((48, 64), np.uint8)
            top, left = rng.integers(0, 24), rng.integers(0, 40)
            picture[top : top + 24, left : left + 24] += 180
            mask[top : top + 24, left : left + 24] = 1
            mask[0, :] = 255
            Image.fromarray(picture.astype(np.uint8)).save(root / "images" / split / f"{index}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"{index}.png")
    (root / "classes.txt").write_text("ground\nsquare\n")
    return root
