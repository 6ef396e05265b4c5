"""A split as loaders see it: an item by (epoch, index), or what is wrong with it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.data.augment.pictures import TrainTransform, Transform
from hswish.data.augment.rare_things import RareThings
from hswish.data.augment.settings import Augment
from hswish.data.problems import BadFile
from hswish.data.source import DataSource
from hswish.data.splits import stable_hash
from hswish.spec.errors import DataError, PictureError
from hswish.spec.preprocess import Preprocess

Key = tuple[int, int]
"""(epoch, index of the item in its split)"""


@dataclass(frozen=True)
class Sample:
    """One item, ready for a batch."""

    picture: NDArray[Any]
    """(C, h, w) float32, normalised; in an evaluation whatever the engine takes"""
    target: int | NDArray[np.uint8]
    """class index, or mask (H, W) uint8"""
    index: int
    """of the item in its split"""
    size: tuple[int, int]
    """(height, width) of the picture as it was read, in pixels"""


class PictureDataset:
    """The items of one split, transformed, which is all that torch asks of a data set. Nothing is cached.

    The random numbers of an item come from (seed, epoch, index) alone: neither the process
    that loads it nor what was loaded before it matters.

    Raises:
        DataError: the data set has no such split.
    """

    def __init__(
        self,
        source: DataSource,
        split: str,
        transform: Transform,
        seed: int = 0,
        lenders: RareThings | None = None,
    ) -> None:
        """`lenders`: which pictures of the split lend their rare things to others; None: none."""
        self.source, self.split, self.transform, self.seed = source, split, transform, seed
        self.items = source.items(split)
        self.lenders = lenders

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: Key | int) -> Sample | BadFile:
        """The item under (epoch, index); a plain index means epoch 0.

        A file that cannot be used is returned, not raised: an exception would reach the
        main process as a traceback of the loading one.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        item = self.items[index]
        try:
            picture, target = self.source.read(item)
            pixels, target = self.transform(picture, target, stable_hash(self.seed, epoch, index))
            if not isinstance(target, int):
                pixels, target = self._paste(pixels, target, stable_hash(self.seed, epoch, index, "lender"))
        except PictureError as error:
            return BadFile(error.name, error.reason)
        except DataError as error:
            name, _, reason = str(error).partition(": ")
            return BadFile(name, reason, fatal=True)
        except MemoryError:
            return BadFile(self.source.label(item), "does not fit into memory; scale it down")
        return Sample(picture=pixels, target=target, index=index, size=(picture.height, picture.width))

    def _paste(
        self, pixels: NDArray[np.float32], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(C, h, w) and (h, w) with what another picture, augmented by itself, shows of a rare class.

        Raises:
            DataError: the lender's mask contradicts its picture or the classes.
        """
        drawn = self.lenders.draw(seed) if self.lenders is not None else None
        if drawn is None:
            return pixels, mask
        index, label = drawn
        try:
            picture, target = self.source.read(self.items[index])
        except PictureError:  # it is said when the picture's own turn comes
            return pixels, mask
        lent, shown = self.transform(picture, target, seed)
        things = shown == label
        return np.where(things, lent, pixels), np.where(things, shown, mask)


def train_dataset(source: DataSource, augment: Augment, preprocess: Preprocess, seed: int) -> PictureDataset:
    """The train split of `source` as an epoch sees it: augmented as asked, rare things pasted in where asked.

    Raises:
        DataError: no train split; masks that contradict themselves, which pasting reads at the start.
        OptionError: an augmentation that this task, or shards on the web, cannot give.
    """
    transform = TrainTransform(augment, preprocess, source.task)
    lenders = RareThings.of(source, "train", augment.paste) if augment.paste else None
    return PictureDataset(source, "train", transform, seed, lenders)
