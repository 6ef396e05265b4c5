"""Colour data sets on disk, and a numpy engine that answers with the nearest colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hswish.data import DataSource, open_data
from hswish.spec.artifact import Description
from hswish.spec.preprocess import Preprocess

COLOURS = {
    "background": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
}


class ColourEngine:
    """Knows `classes` by their colours; for masks it answers pixel by pixel."""

    suffixes = (".colours",)

    def __init__(self, task: str, classes: tuple[str, ...] = tuple(COLOURS), **preprocess: Any) -> None:
        rule: dict[str, Any] = {"height": 24, "width": 24, "resize": "shorter", "interpolation": "nearest"}
        self.description = Description(
            model="mobilenet_v3_small" if task == "classification" else "lraspp_mobilenet_v3_small",
            options={"num_classes": len(classes)},
            classes=classes,
            preprocess=Preprocess(**{**rule, "mean": (0.0,) * 3, "std": (1.0,) * 3, **preprocess}),
        )
        self.batches: list[tuple[int, ...]] = []

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> ColourEngine:
        return cls(path.read_text())

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch.shape)
        if self.description.task == "classification":
            batch = batch.mean(axis=(2, 3), keepdims=True)
        colours = np.array([COLOURS[name] for name in self.description.classes], np.float32) / 255
        logits = -8 * ((batch[:, None] - colours[None, :, :, None, None]) ** 2).sum(axis=2)
        return logits[:, :, 0, 0] if self.description.task == "classification" else logits


@pytest.fixture
def colour_engine() -> type[ColourEngine]:
    return ColourEngine


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[..., DataSource]:
    """Makes a classification set: `labelled({"red": ["red", "blue"]})` is one mislabelled of two."""

    def make(pictures: dict[str, list[str]], split: str = "val") -> DataSource:
        for label, colours in pictures.items():
            for number, colour in enumerate(colours):
                path = tmp_path / "labelled" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (30 + 10 * (number % 2), 30), COLOURS[colour]).save(path)
        return open_data(tmp_path / "labelled")

    return make


@pytest.fixture
def scenes(tmp_path: Path) -> Callable[..., DataSource]:
    """Makes a segmentation set of val scenes (24, 36); `spoil` may change each mask."""

    def make(
        count: int = 3,
        classes: tuple[str, ...] = tuple(COLOURS),
        spoil: Callable[[np.ndarray], np.ndarray] = lambda mask: mask,
    ) -> DataSource:
        root = tmp_path / "scenes"
        for folder in ("images/val", "masks/val"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "classes.txt").write_text("\n".join(classes) + "\n")
        rng = np.random.default_rng(0)
        for number in range(count):
            mask = np.full((24, 36), classes.index("background"), np.uint8)
            for _ in range(4):
                top, left = rng.integers(0, 18), rng.integers(0, 30)
                mask[top : top + 9, left : left + 11] = rng.integers(0, len(classes))
            colours = np.array([COLOURS[name] for name in classes], np.uint8)
            Image.fromarray(colours[mask]).save(root / f"images/val/{number}.png")
            Image.fromarray(spoil(mask.copy())).save(root / f"masks/val/{number}.png")
        return open_data(root)

    return make
