"""Better masks for more time: mirrored pictures, and windows of a fixed size slid over large ones.

Both are engines around an engine, so whatever takes an engine takes them, one in the other:

    Predictor(Mirrored(Windowed(open_engine("scenes.onnx"))))
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.engine import Engine, interface_of, open_engine
from hswish.spec.artifact import Description
from hswish.spec.errors import OptionError
from hswish.spec.interface import Interface


class Mirrored:
    """Answers with the mean of the logits of a picture and of its mirror image.

    Raises:
        OptionError: the file gives finished masks, which have no mean.
    """

    suffixes: tuple[str, ...] = ()

    def __init__(self, engine: Engine) -> None:
        self.engine, self.interface = engine, interface_of(engine)
        if self.interface.gives != "logits":
            raise OptionError("mirrored pictures need logits; this file gives masks, export it without argmax")

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> Mirrored:
        """Open `path` with the fastest engine and mirror it."""
        return cls(open_engine(path, threads=threads))

    @property
    def description(self) -> Description:
        return self.engine.description

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `Engine.run`."""
        across = 2 if self.interface.takes == "pixels" else 3
        plain = self.engine.run(batch)
        mirrored = self.engine.run(np.ascontiguousarray(np.flip(batch, across)))
        return (plain + (np.flip(mirrored, 3) if mirrored.ndim == 4 else mirrored)) / 2


class Windowed:
    """Slides a window over each picture, which keeps its shape, and averages logits where windows meet.

    The picture is scaled until its shorter side is the window's shorter side, so a file of a fixed
    size sees pictures of any shape undistorted, and things as large as it has learnt them: windows slide along the
    longer side only, and two or three of them do for most pictures. `run` itself takes batches that are larger than
    the window both ways, and slides both ways.

    Args:
        overlap: part of the window's side that neighbours share, 0 to 0.9.

    Raises:
        OptionError: not a segmenter that gives logits, or an overlap out of range.
    """

    suffixes: tuple[str, ...] = ()

    def __init__(self, engine: Engine, overlap: float = 0.25) -> None:
        inner = interface_of(engine)
        if engine.description.task != "segmentation" or inner.gives != "logits":
            raise OptionError("windows need a segmenter that gives logits (exported without argmax)")
        if not 0 <= overlap <= 0.9:
            raise OptionError(f"windows overlap by 0 to 0.9 of their side, not {overlap!r}")
        preprocess = engine.description.preprocess
        self.engine, self.overlap = engine, overlap
        self.window = inner.size or (preprocess.height, preprocess.width)
        shaped = replace(preprocess, resize="shorter", height=self.window[0], width=self.window[1])
        self.description: Description = replace(engine.description, preprocess=shaped)
        self.interface: Interface = replace(inner, size=None)

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> Windowed:
        """Open `path` with the fastest engine and slide its window."""
        return cls(open_engine(path, threads=threads))

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `Engine.run`; logits (N, K, H, W)."""
        rows, columns = (1, 2) if self.interface.takes == "pixels" else (2, 3)
        height, width = batch.shape[rows], batch.shape[columns]
        short = [max(0, side - given) for side, given in zip(self.window, (height, width), strict=True)]
        if any(short):  # edges are repeated where a picture is smaller than the window
            amounts = [(0, 0)] * 4
            amounts[rows], amounts[columns] = (0, short[0]), (0, short[1])
            batch = np.pad(batch, amounts, mode="edge")
        total: NDArray[np.float32] | None = None
        seen = np.zeros((batch.shape[rows], batch.shape[columns]), np.float32)
        for top in self._starts(batch.shape[rows], self.window[0]):
            for left in self._starts(batch.shape[columns], self.window[1]):
                place = (slice(top, top + self.window[0]), slice(left, left + self.window[1]))
                cut = [slice(None)] * 4
                cut[rows], cut[columns] = place
                logits = self.engine.run(np.ascontiguousarray(batch[tuple(cut)]))
                if total is None:
                    total = np.zeros((*logits.shape[:2], *seen.shape), np.float32)
                total[(slice(None), slice(None), *place)] += logits
                seen[place] += 1
        assert total is not None
        return (total / seen)[:, :, :height, :width]

    def _starts(self, side: int, window: int) -> list[int]:
        """Where windows begin, evenly spaced, so that they cover `side` and overlap at least as asked."""
        step = max(1, int(window * (1 - self.overlap)))
        count = 1 + -(-max(0, side - window) // step)
        return [round(index * (side - window) / max(1, count - 1)) for index in range(count)]
