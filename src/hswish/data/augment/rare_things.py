"""Copy-paste for segmentation: which picture lends the things of which rare class to another.

Rare are the classes with fewer pixels than the median class of the split. A loss counts pixels,
so without help a network meets a bicyclist a hundred times less than the road. Source of the
idea: arXiv 2012.07177, where single instances are pasted; here, without instances, all pixels
of one class.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hswish.data.source import DataSource
from hswish.data.statistics import mask_counts
from hswish.spec.addresses import is_web_address
from hswish.spec.errors import OptionError


@dataclass(frozen=True)
class RareThings:
    """For each rare class the pictures that show it."""

    lenders: dict[int, list[int]]
    """indices of the items by class, both in order"""
    probability: float
    """that a picture borrows at all"""

    @classmethod
    def of(cls, source: DataSource, split: str, probability: float) -> RareThings:
        """From the masks of a split, which are all read.

        Raises:
            OptionError: the data set is for classification, or too far away to pick pictures from all over it.
            DataError: masks that contradict their pictures or the classes.
        """
        if source.task == "classification":
            raise OptionError(f"{source.location}: augment.paste is for segmentation; set augment.paste=0")
        if is_web_address(source.location):
            raise OptionError(
                f"{source.location}: augment.paste picks pictures from all over the data, which shards on the web "
                "give one after the other; set augment.paste=0, or copy the shards to a disk"
            )
        return cls(_rare(mask_counts(source, split)), probability)

    def draw(self, seed: int) -> tuple[int, int] | None:
        """Index of the lending item and the class it lends; None where nothing is borrowed. A function of the seed."""
        chance = random.Random(seed)
        if not self.lenders or chance.random() >= self.probability:
            return None
        label = chance.choice(list(self.lenders))
        return chance.choice(self.lenders[label]), label


def _rare(counts: NDArray[np.int64]) -> dict[int, list[int]]:
    """Items by rare class, from the pixels of each class in each mask (N, K)."""
    total = counts.sum(0)
    occurring = total[total > 0]
    if len(occurring) < 2:
        return {}
    rare = np.flatnonzero((total > 0) & (total < np.median(occurring)))
    return {int(label): np.flatnonzero(counts[:, label]).tolist() for label in rare}
