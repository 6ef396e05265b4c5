"""The data set as torch sees it: an item by (epoch, index), or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hswish.data.augment import Transform
from hswish.data.problems import BadFile
from hswish.data.source import DataSource
from hswish.data.splits import stable_hash
from hswish.spec.errors import DataError, PictureError

Key = tuple[int, int]
"""(epoch, index of the item in its split)"""


@dataclass(frozen=True)
class Sample:
    """One item, ready for a batch."""

    picture: Tensor
    """(C, h, w) float32, normalised"""
    target: int | Tensor
    """class index, or mask (H, W) uint8"""
    index: int
    """of the item in its split"""
    size: tuple[int, int]
    """(height, width) of the picture as it was read, in pixels"""


class PictureDataset(Dataset[Sample | BadFile]):
    """The items of one split, transformed. Nothing is cached.

    The random numbers of an item come from (seed, epoch, index) alone: neither the process
    that loads it nor what was loaded before it matters.

    Raises:
        DataError: the data set has no such split.
    """

    def __init__(self, source: DataSource, split: str, transform: Transform, seed: int = 0) -> None:
        self.source, self.split, self.transform, self.seed = source, split, transform, seed
        self.items = source.items(split)

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
        except PictureError as error:
            return BadFile(error.name, error.reason)
        except DataError as error:
            name, _, reason = str(error).partition(": ")
            return BadFile(name, reason, fatal=True)
        except MemoryError:
            return BadFile(self.source.label(item), "does not fit into memory; scale it down")
        return Sample(
            picture=torch.from_numpy(pixels),
            target=target if isinstance(target, int) else torch.from_numpy(target),
            index=index,
            size=(picture.height, picture.width),
        )
