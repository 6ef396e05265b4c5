"""`digit-scenes`: scenes made of the built-in digits, with exact masks, for segmentation.

A scene shows two to four digits of several sizes over a cluttered, colourful ground; a
later digit may cover a part of an earlier one. Every scene is a pure function of (seed,
split, index), and a split draws only from its own digits: no digit that a model trained on
stands in a scene that it is measured on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.builtin.digits import digit_index, digit_splits, load_digits
from hswish.data.builtin.scene_drawing import SCENE_PX, draw_scene
from hswish.data.source import DataSource, Hints, Item
from hswish.spec.errors import DataError

CLASSES = ("background", *"0123456789")
COUNTS = {"train": 1200, "val": 80, "test": 120}
"""Scenes in each split."""
_SPLIT_NUMBER = {"train": 0, "val": 1, "test": 2}


def open_digit_scenes(seed: int = 0) -> DataSource:
    """The scenes, 160x160 RGB with masks of 11 classes.

    Raises:
        MissingPackageError: scikit-learn or OpenCV is not installed.
    """
    load_digits()  # missing packages show here, not in a loading process
    names = {split: [f"digit-scenes/{split}/{index:04d}" for index in range(n)] for split, n in COUNTS.items()}
    counts = ", ".join(f"{count} {split}" for split, count in COUNTS.items())
    return DataSource(
        name="digit-scenes",
        location="digit-scenes",
        task="segmentation",
        classes=CLASSES,
        splits={split: tuple(Item(name, name) for name in names[split]) for split in COUNTS},
        reader=SceneReader(seed),
        made_splits=f"built-in scenes (seed {seed}), no digit in two splits: {counts}",
        hints=Hints(mirror=False, background=True),
    )


class SceneReader:
    """Draws a scene when it is first asked for, and keeps it (100 kB each)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._scene = lru_cache(maxsize=sum(COUNTS.values()))(self._draw)

    def picture(self, name: str) -> Image.Image:
        """The scene, (160, 160) 8-bit RGB."""
        return Image.fromarray(self._scene(name)[0])

    def mask(self, name: str) -> NDArray[np.uint8]:
        """Its mask, (160, 160) class indices, 0 for background."""
        return self._scene(name)[1].copy()

    def size(self, name: str) -> tuple[int, int]:
        return SCENE_PX, SCENE_PX

    def label(self, name: str) -> str:
        return name

    def _draw(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        _, split, index = name.split("/")
        if split not in COUNTS or int(index) >= COUNTS[split]:
            raise DataError(f"{name}: there is no such scene")
        digits = scene_digits(self.seed)[split]
        images, labels = load_digits()
        rng = np.random.default_rng((self.seed, _SPLIT_NUMBER[split], int(index)))
        return draw_scene(images[digits], labels[digits], rng)

    def __getstate__(self) -> dict[str, Any]:
        return {"seed": self.seed}  # scenes are drawn again, not sent to another process

    def __setstate__(self, state: dict[str, Any]) -> None:
        SceneReader.__init__(self, state["seed"])


@lru_cache(maxsize=4)
def scene_digits(seed: int) -> dict[str, NDArray[np.int64]]:
    """Indices of the digits that a split's scenes draw from, by split."""
    return {split: np.array([digit_index(item) for item in items]) for split, items in digit_splits(seed).items()}
