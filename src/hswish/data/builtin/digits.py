"""`digits`: scikit-learn's 1,797 handwritten digits, built in and needing no download.

UCI "Optical Recognition of Handwritten Digits", 8x8 greys of 0 to 16. They are enlarged to
32x32 smoothly: the network halves its input five times and would see one pixel otherwise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.source import DataSource, Hints, Item
from hswish.data.splits import hold_out
from hswish.spec.errors import DataError, MissingPackageError

SIDE_PX = 32
CLASSES = tuple("0123456789")
TEST, VAL = 0.2, 0.1
"""Parts of each class that are test and val; the other 70 % are train."""


def open_digits(seed: int = 0) -> DataSource:
    """The digits, white on black, 32x32, divided by `seed`.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    splits = digit_splits(seed)
    counts = ", ".join(f"{len(items):,} {split}" for split, items in splits.items())
    return DataSource(
        name="digits",
        location="digits",
        task="classification",
        classes=CLASSES,
        splits=splits,
        reader=DigitReader(),
        made_splits=f"built-in digits, divided by class (stratified, seed {seed}): {counts}",
        hints=Hints(mirror=False),
    )


def digit_splits(seed: int) -> dict[str, tuple[Item, ...]]:
    """Items by split, about 70/10/20 % of each class. An item's name ends in scikit-learn's index."""
    _, labels = load_digits()
    items = [Item(f"digits/{label}/{index:04d}", int(label)) for index, label in enumerate(labels)]
    rest, test = hold_out(items, [item.target for item in items], TEST, seed)
    train, val = hold_out(rest, [item.target for item in rest], VAL / (1 - TEST), seed)
    return {"train": train, "val": val, "test": test}


def digit_index(item: Item) -> int:
    """The item's index in scikit-learn's arrays."""
    return int(item.picture.rpartition("/")[2])


@lru_cache(maxsize=1)
def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures (1797, 8, 8) uint8, strokes up to 255, and labels (1797,).

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise MissingPackageError("scikit-learn", "train", "the built-in digits") from error
    bunch = datasets.load_digits()
    return np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


class DigitReader:
    """Reads from memory what `tree.Tree` reads from files."""

    def picture(self, name: str) -> Image.Image:
        """The digit as (32, 32) 8-bit RGB."""
        pictures, _ = load_digits()
        small = Image.fromarray(pictures[int(name.rpartition("/")[2])])
        return small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).convert("RGB")

    def mask(self, name: str) -> NDArray[np.uint8]:
        """Always raises: digits have no masks."""
        raise DataError("digits: is for classification and has no masks; use digit-scenes")

    def size(self, name: str) -> tuple[int, int]:
        return SIDE_PX, SIDE_PX

    def label(self, name: str) -> str:
        return name
