from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassConfusionMatrix

from hswish.metrics import confusion_matrix
from hswish.spec.errors import DataError


@given(st.integers(2, 12), st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_equals_torchmetrics(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets, predictions = rng.integers(0, classes, (2, count)).astype(np.uint8)
    targets[rng.random(count) < 0.2] = 255
    ours = confusion_matrix(targets, predictions, classes)
    assert ours.dtype == np.int64
    theirs = MulticlassConfusionMatrix(classes, ignore_index=255)
    assert np.array_equal(ours, theirs(torch.from_numpy(predictions).long(), torch.from_numpy(targets).long()).numpy())


def test_rows_are_the_truth_and_class_255_may_count() -> None:
    assert confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist() == [[0, 2], [0, 1]]
    assert confusion_matrix(np.array([255]), np.array([255]), 1000).sum() == 0
    assert confusion_matrix(np.array([255]), np.array([255]), 1000, ignore_index=None)[255, 255] == 1


def test_what_does_not_fit_is_an_error_and_not_another_cell() -> None:
    with pytest.raises(DataError, match="target 3 is no class index; 3 classes are numbered 0 to 2"):
        confusion_matrix(np.array([3]), np.array([0]), 3)
    with pytest.raises(DataError, match="prediction -1"):
        confusion_matrix(np.array([1]), np.array([-1]), 3)
    with pytest.raises(DataError, match="shape"):
        confusion_matrix(np.zeros((2, 3), int), np.zeros((3, 2), int), 3)
