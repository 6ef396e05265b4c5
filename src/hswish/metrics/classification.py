"""How well a classifier does: accuracy, per-class scores, and whether it knows when it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.metrics.confusion import confusion_matrix, ratio
from hswish.spec.errors import DataError

_BINS = 15
"""Confidence bins of the calibration error, as in Guo et al. 2017 (arXiv 1706.04599)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationScores:
    """Scores over a whole data set; all fractions are in [0, 1]."""

    count: int
    """pictures"""
    top1: float
    top5: float
    """truth among the five likeliest, or among all where there are fewer classes"""
    precision: NDArray[np.float64]
    """(K,), nan for a class never predicted"""
    recall: NDArray[np.float64]
    """(K,), nan for a class without pictures"""
    f1: NDArray[np.float64]
    """(K,), nan for a class neither present nor predicted"""
    support: NDArray[np.int64]
    """(K,), pictures of each class"""
    confusion: NDArray[np.int64]
    """(K, K), rows are the truth"""
    calibration_error: float
    """expected calibration error: mean gap between confidence and accuracy, 15 bins"""


def top_k_correct(scores: NDArray[np.floating], targets: NDArray[np.integer[Any]], k: int) -> NDArray[np.bool_]:
    """Whether the truth is among the `k` highest of `scores` (N, K); targets (N,), result (N,).

    Of equal scores the lower class index ranks first, as in argmax; a score that is not a
    number is never correct.
    """
    classes = np.arange(scores.shape[1])
    own = np.take_along_axis(scores, targets.astype(np.int64)[:, None], axis=1)  # (N, 1)
    above = ~(scores <= own)  # written so that nan counts as above
    tied = (scores == own) & (classes < targets[:, None])
    return (above | tied).sum(axis=1) < k


def calibration_error(bins: NDArray[np.float64]) -> float:
    """Expected calibration error of (B, 3) bins: pictures, summed confidence, correct ones."""
    count, confidence, correct = bins.T
    return float(np.abs(confidence - correct).sum() / count.sum())


class ClassificationMetrics:
    """Accumulates over batches; `merge` joins the parts of several processes.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._confusion = np.zeros((num_classes, num_classes), np.int64)
        self._top5 = 0
        self._bins = np.zeros((_BINS, 3))

    def update(self, logits: NDArray[np.floating], targets: NDArray[np.integer[Any]]) -> None:
        """Add a batch: logits (N, K), whose softmax is the confidence; targets (N,) class indices.

        Raises:
            DataError: a target is no class index, or shapes do not fit.
        """
        logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
        if logits.ndim != 2 or logits.shape != (len(targets), self.num_classes):
            raise DataError(f"logits of shape {logits.shape} for {len(targets)} targets of {self.num_classes} classes")
        predictions = logits.argmax(axis=1)
        self._confusion += confusion_matrix(targets, predictions, self.num_classes, ignore_index=None)
        self._top5 += int(top_k_correct(logits, targets, min(5, self.num_classes)).sum())
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
        places = np.clip((np.nan_to_num(confidence) * _BINS).astype(int), 0, _BINS - 1)
        np.add.at(self._bins, places, np.stack([np.ones(len(targets)), confidence, predictions == targets], axis=1))

    def merge(self, other: ClassificationMetrics) -> None:
        """Add what another process accumulated."""
        self._confusion += other._confusion
        self._top5 += other._top5
        self._bins += other._bins

    def compute(self) -> ClassificationScores:
        """The scores of everything added so far.

        Raises:
            DataError: nothing was added.
        """
        confusion = self._confusion.copy()
        count = int(confusion.sum())
        if not count:
            raise DataError("no picture was evaluated, so there is no accuracy")
        hits, truth, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        return ClassificationScores(
            count=count,
            top1=float(hits.sum() / count),
            top5=self._top5 / count,
            precision=ratio(hits, predicted),
            recall=ratio(hits, truth),
            f1=ratio(2 * hits, truth + predicted),
            support=truth,
            confusion=confusion,
            calibration_error=calibration_error(self._bins),
        )
