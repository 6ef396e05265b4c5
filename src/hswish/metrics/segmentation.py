"""How well masks agree: intersection over union, from ONE confusion matrix over the data set.

Averaging the scores of single pictures gives another number, which no paper reports: a class
that is a speck in one picture weighs as much there as one that fills it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.metrics.confusion import confusion_matrix, ratio
from hswish.spec.errors import DataError
from hswish.spec.palette import IGNORE_INDEX


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationScores:
    """Scores over a whole data set; all fractions are in [0, 1]."""

    count: int
    """pictures"""
    miou: float
    """mean of `iou` over the classes that occur"""
    pixel_accuracy: float
    iou: NDArray[np.float64]
    """(K,), nan for the classes of `absent`"""
    recall: NDArray[np.float64]
    """(K,), share of a class's pixels that were found; nan for a class without pixels"""
    support: NDArray[np.int64]
    """(K,), labelled pixels of each class"""
    absent: tuple[int, ...]
    """classes in neither the truth nor the predictions: left out of the mean"""
    confusion: NDArray[np.int64]
    """(K, K) pixels, rows are the truth"""


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union (K,) of a confusion matrix (K, K); nan where the union is empty."""
    hits = confusion.diagonal()
    return ratio(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean of `iou_per_class` over the classes that occur; nan if none does."""
    present = iou_per_class(confusion)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else float("nan")


def pixel_accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of the labelled pixels that got their class; nan without any."""
    return float(ratio(confusion.diagonal().sum(), confusion.sum()))


class SegmentationMetrics:
    """Accumulates over masks; `merge` joins the parts of several processes.

    Args:
        num_classes: K.
        ignore_index: target pixels of this value count nowhere.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = IGNORE_INDEX) -> None:
        self.num_classes = num_classes
        self._ignore_index = ignore_index
        self._confusion = np.zeros((num_classes, num_classes), np.int64)
        self._count = 0

    def update(self, prediction: NDArray[np.integer[Any]], target: NDArray[np.integer[Any]]) -> None:
        """Add one picture's masks, both (H, W) class indices.

        Raises:
            DataError: shapes differ, or a value is no class index.
        """
        self._confusion += confusion_matrix(target, prediction, self.num_classes, self._ignore_index)
        self._count += 1

    def merge(self, other: SegmentationMetrics) -> None:
        """Add what another process accumulated."""
        self._confusion += other._confusion
        self._count += other._count

    def compute(self) -> SegmentationScores:
        """The scores of everything added so far.

        Raises:
            DataError: no labelled pixel was added.
        """
        confusion = self._confusion.copy()
        if not confusion.sum():
            raise DataError("no labelled pixel was evaluated, so there is no IoU; check that the masks are not all 255")
        iou = iou_per_class(confusion)
        truth = confusion.sum(axis=1)
        return SegmentationScores(
            count=self._count,
            miou=mean_iou(confusion),
            pixel_accuracy=pixel_accuracy(confusion),
            iou=iou,
            recall=ratio(confusion.diagonal(), truth),
            support=truth,
            absent=tuple(int(index) for index in np.flatnonzero(np.isnan(iou))),
            confusion=confusion,
        )
