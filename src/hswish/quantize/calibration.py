"""The pictures that calibration looks at, and the split that judges what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hswish.data.source import DataSource, Item, evenly
from hswish.spec.artifact import Description
from hswish.spec.errors import DataError, PictureError

LEAST = 16
"""Pictures without which ranges are a guess."""
_PIXELS = 24 * 360 * 480
"""Pixels that are looked at by default: two networks hold every value of so many at once."""
_MOST = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Preprocessed pictures, and where to measure."""

    source: DataSource
    split: str
    """that is evaluated"""
    batches: tuple[NDArray[np.float32], ...]
    """(n, C, H, W) each"""

    @property
    def count(self) -> int:
        """Pictures."""
        return sum(len(batch) for batch in self.batches)


def calibration(source: DataSource, description: Description, count: int | None = None) -> Calibration:
    """Up to `count` pictures of the training split, evenly spaced, so that every class is met.

    Args:
        count: pictures; by default as many as suit their size, up to 512.

    Raises:
        DataError: too few pictures, all of one class, unreadable, or nothing to evaluate on.
    """
    split = next((name for name in ("val", "test") if name in source.splits), None)
    if split is None or not source.splits[split]:
        raise DataError(f"{source.location}: has no split val or test, on which 8 bits are judged")
    items = source.splits.get("train") or source.splits[split]
    preprocess = description.preprocess
    if preprocess.resize == "shorter":  # of one size, as the graph is
        preprocess = replace(preprocess, resize="stretch")
    area = preprocess.height * preprocess.width
    count = count or min(_MOST, max(LEAST, _PIXELS // area))
    chosen = evenly(items, count)
    _check(source, chosen, len(description.classes))
    pictures = []
    for item in chosen:
        try:
            pictures.append(preprocess(source.read_picture(item)))
        except PictureError:
            continue
    if len(pictures) < LEAST:
        raise DataError(f"{source.location}: only {len(pictures)} of {len(chosen)} calibration pictures can be read")
    step = max(1, min(64, 4 * 360 * 480 // area))
    batches = tuple(np.stack(pictures[start : start + step]) for start in range(0, len(pictures), step))
    return Calibration(source=source, split=split, batches=batches)


def _check(source: DataSource, items: Sequence[Item], known: int) -> None:
    """Refuse pictures on which ranges would be a guess: too few of them, or all of one of the `known` classes."""
    if len(items) < LEAST:
        raise DataError(f"{source.location}: calibration needs {LEAST} pictures or more, there are {len(items)}")
    if source.task == "classification":
        classes = {int(item.target) for item in items}
    else:
        classes = _classes_in_masks(source, items)
    if len(classes) == 1 < max(known, len(source.classes)):
        raise DataError(
            f"{source.location}: all {len(items)} calibration pictures are of one class "
            f"({source.classes[classes.pop()]}); ranges that fit it alone would cut off the others"
        )


def _classes_in_masks(source: DataSource, items: Sequence[Item]) -> set[int]:
    """Classes that the masks of `items` show, until there are two."""
    found: set[int] = set()
    for item in items:
        with suppress(PictureError):
            found.update(np.unique(source.read_mask(item)).tolist())
        found = {value for value in found if value < len(source.classes)}  # 255 is none
        if len(found) > 1:
            break
    return found
