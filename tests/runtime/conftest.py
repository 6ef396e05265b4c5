"""A tiny engine in numpy whose answers can be read off the picture: no network, no torch."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hswish.spec.artifact import Description
from hswish.spec.preprocess import Preprocess

COLOURS = {"background": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
CLASSES = tuple(COLOURS)


class ColourEngine:
    """Answers with the nearest named colour: of the whole picture, or of every pixel."""

    suffixes = (".colours",)

    def __init__(self, task: str = "classification", **preprocess: Any) -> None:
        name = "mobilenet_v3_small" if task == "classification" else "lraspp_mobilenet_v3_small"
        rule: dict[str, Any] = {"height": 8, "width": 8, "resize": "stretch", "interpolation": "nearest"}
        self.description = Description(
            model=name,
            options={"num_classes": len(CLASSES)},
            classes=CLASSES,
            preprocess=Preprocess(**{**rule, "mean": (0.0,) * 3, "std": (1.0,) * 3, **preprocess}),
        )
        self.batches: list[tuple[int, ...]] = []
        self.busy = threading.Lock()

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> ColourEngine:
        return cls(path.read_text())

    def run(self, batch: np.ndarray) -> np.ndarray:
        assert self.busy.acquire(blocking=False), "two threads inside the engine"
        try:
            assert batch.dtype == np.float32
            self.batches.append(batch.shape)
            if self.description.task == "classification":
                batch = batch.mean(axis=(2, 3), keepdims=True)
            time.sleep(0.001)
            colours = np.array(list(COLOURS.values()), np.float32)[None, :, :, None, None] / 255
            logits = -8 * ((batch[:, None] - colours) ** 2).sum(axis=2)  # (N, K, h, w)
            return logits[:, :, 0, 0] if self.description.task == "classification" else logits
        finally:
            self.busy.release()


@pytest.fixture
def colour_engine() -> type[ColourEngine]:
    """Makes engines: `colour_engine("segmentation", resize="shorter")`."""
    return ColourEngine


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """red.png, sub/green.png, sub/deep/blue.bmp, and files that are none of our business."""
    folder = tmp_path / "pictures"
    for path, colour in (("red.png", "red"), ("sub/green.png", "green"), ("sub/deep/blue.bmp", "blue")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), COLOURS[colour]).save(folder / path)
    (folder / "notes.txt").write_text("no picture")
    (folder / "sub" / "._green.png").write_bytes(b"left by an archiver")
    return folder
