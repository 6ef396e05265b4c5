from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from hswish.metrics import SegmentationMetrics, SegmentationScores, iou_per_class, mean_iou, pixel_accuracy
from hswish.spec.errors import DataError


def random_masks(classes: int, pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predictions, targets = rng.integers(0, classes, (2, pictures, 6, 7)).astype(np.uint8)
    targets[rng.random(targets.shape) < 0.2] = 255
    targets[0, 0, 0] = 0  # at least one labelled pixel
    return predictions, targets


def scores_of(predictions: np.ndarray, targets: np.ndarray, classes: int) -> SegmentationScores:
    metrics = SegmentationMetrics(classes)
    for prediction, target in zip(predictions, targets, strict=True):
        metrics.update(prediction, target)
    return metrics.compute()


@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_equals_torchmetrics(classes: int, pictures: int, seed: int) -> None:
    predictions, targets = random_masks(classes, pictures, seed)
    scores = scores_of(predictions, targets, classes)
    predicted, truth = torch.from_numpy(predictions).long(), torch.from_numpy(targets).long()
    macro = MulticlassJaccardIndex(classes, ignore_index=255, average="macro")(predicted, truth)
    assert scores.miou == pytest.approx(float(macro), abs=1e-6)
    each = MulticlassJaccardIndex(classes, ignore_index=255, average=None)(predicted, truth).numpy()
    np.testing.assert_allclose(np.nan_to_num(scores.iou), each, atol=1e-6)
    accuracy = MulticlassAccuracy(classes, ignore_index=255, average="micro")(predicted, truth)
    assert scores.pixel_accuracy == pytest.approx(float(accuracy), abs=1e-6)


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_iou_equals_sklearn(classes: int, seed: int) -> None:
    predictions, targets = random_masks(classes, 2, seed)
    scores = scores_of(predictions, targets, classes)
    labelled = targets != 255
    expected = jaccard_score(
        targets[labelled], predictions[labelled], labels=range(classes), average=None, zero_division=0
    )
    np.testing.assert_allclose(np.nan_to_num(scores.iou), expected)


def test_iou_is_of_the_data_set_and_not_a_mean_over_pictures() -> None:
    """Two pictures: class 1 is nearly all of the first, and one missed pixel of the second."""
    targets = np.zeros((2, 4, 4), np.uint8)
    targets[0, :3] = 1
    targets[1, 0, 0] = 1
    predictions = targets.copy()
    predictions[1, 0, 0] = 0
    scores = scores_of(predictions, targets, 2)
    by_picture = np.mean([scores_of(predictions[[i]], targets[[i]], 2).miou for i in range(2)])
    assert by_picture == pytest.approx((1 + 15 / 16 / 2) / 2)  # 0.734
    assert scores.miou == pytest.approx((19 / 20 + 12 / 13) / 2)  # 0.937


def test_absent_classes_are_left_out_and_named() -> None:
    target = np.array([[0, 0, 2, 255]], np.uint8)
    scores = scores_of(np.array([[[0, 0, 0, 3]]], np.uint8), target[None], 5)
    assert scores.absent == (1, 3, 4)  # class 3 is predicted only where nothing is labelled
    assert scores.iou[[0, 2]] == pytest.approx([2 / 3, 0.0])
    assert scores.miou == pytest.approx(1 / 3)
    assert scores.support.tolist() == [2, 0, 1, 0, 0]


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_parts_merge_to_the_whole(classes: int, seed: int) -> None:
    predictions, targets = random_masks(classes, 4, seed)
    first, second = SegmentationMetrics(classes), SegmentationMetrics(classes)
    for index in range(4):
        (first, second)[index % 2].update(predictions[index], targets[index])
    first.merge(second)
    merged, whole = first.compute(), scores_of(predictions, targets, classes)
    assert (merged.miou, merged.count) == (whole.miou, 4)
    assert np.array_equal(merged.confusion, whole.confusion)


def test_nothing_labelled() -> None:
    empty = np.zeros((3, 3), np.int64)
    assert np.isnan(iou_per_class(empty)).all()
    assert np.isnan(mean_iou(empty))
    assert np.isnan(pixel_accuracy(empty))
    metrics = SegmentationMetrics(3)
    metrics.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    with pytest.raises(DataError, match="all 255"):
        metrics.compute()
