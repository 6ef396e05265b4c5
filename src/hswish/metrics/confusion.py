"""The confusion matrix: every score of this package that is not about ranking comes from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.spec.errors import DataError
from hswish.spec.palette import IGNORE_INDEX


def confusion_matrix(
    targets: NDArray[np.integer[Any]],
    predictions: NDArray[np.integer[Any]],
    num_classes: int,
    ignore_index: int | None = IGNORE_INDEX,
) -> NDArray[np.int64]:
    """How often class i (row, the truth) was predicted as class j (column).

    Args:
        targets: class indices, any shape.
        predictions: class indices, of the same shape.
        num_classes: K.
        ignore_index: targets of this value are left out; None counts them all, as a
            classifier of more than 255 classes needs.

    Returns:
        (K, K) int64.

    Raises:
        DataError: shapes differ, or a value is no class index.
    """
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if targets.shape != predictions.shape:
        raise DataError(f"targets of shape {targets.shape} against predictions of shape {predictions.shape}")
    targets, predictions = targets.ravel(), predictions.ravel()
    if ignore_index is not None:
        counted = targets != ignore_index
        targets, predictions = targets[counted], predictions[counted]
    _check_range("target", targets, num_classes)
    _check_range("prediction", predictions, num_classes)
    cells = targets.astype(np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """`part / whole` element by element, nan where `whole` is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)


def _check_range(what: str, values: NDArray[np.integer[Any]], num_classes: int) -> None:
    if not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise DataError(f"{what} {wrong} is no class index; {num_classes} classes are numbered 0 to {num_classes - 1}")
