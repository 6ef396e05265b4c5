from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from hswish.metrics import ClassificationMetrics, ClassificationScores, top_k_correct
from hswish.spec.errors import DataError


def random_batch(classes: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 2.0 * (np.arange(classes) == targets[:, None]) * rng.random((count, 1))
    return logits.astype(np.float32), targets


def scores_of(logits: np.ndarray, targets: np.ndarray) -> ClassificationScores:
    metrics = ClassificationMetrics(logits.shape[1])
    metrics.update(logits, targets)
    return metrics.compute()


cases = given(st.integers(2, 12), st.integers(1, 200), st.integers(0, 2**32 - 1))


@cases
def test_accuracy_and_calibration_equal_torchmetrics(classes: int, count: int, seed: int) -> None:
    logits, targets = random_batch(classes, count, seed)
    scores = scores_of(logits, targets)
    probabilities, truth = torch.softmax(torch.from_numpy(logits), 1), torch.from_numpy(targets)
    for k, ours in ((1, scores.top1), (min(5, classes), scores.top5)):
        theirs = MulticlassAccuracy(classes, top_k=k, average="micro")(probabilities, truth)
        assert ours == pytest.approx(float(theirs), abs=1e-6)
    theirs = MulticlassCalibrationError(classes, n_bins=15, norm="l1")(probabilities, truth)
    assert scores.calibration_error == pytest.approx(float(theirs), abs=1e-4)


@cases
def test_per_class_scores_equal_sklearn(classes: int, count: int, seed: int) -> None:
    logits, targets = random_batch(classes, count, seed)
    scores = scores_of(logits, targets)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, logits.argmax(1), labels=range(classes), zero_division=np.nan
    )
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    occurs = (support > 0) | (scores.confusion.sum(0) > 0)
    np.testing.assert_allclose(scores.f1[occurs], np.nan_to_num(f1)[occurs])
    assert np.isnan(scores.f1[~occurs]).all()
    assert np.array_equal(scores.support, support)


@given(st.integers(6, 20), st.integers(20, 100), st.integers(0, 2**32 - 1))
def test_top_k_equals_sklearn(classes: int, count: int, seed: int) -> None:
    logits, targets = random_batch(classes, count, seed)
    for k in (1, 2, 5):
        expected = top_k_accuracy_score(targets, logits, k=k, labels=range(classes))
        assert top_k_correct(logits, targets, k).mean() == pytest.approx(expected)


@given(st.integers(2, 8), st.integers(2, 60), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_parts_merge_to_the_whole(classes: int, count: int, parts: int, seed: int) -> None:
    logits, targets = random_batch(classes, count, seed)
    whole = ClassificationMetrics(classes)
    for rows, truth in zip(np.array_split(logits, parts), np.array_split(targets, parts), strict=True):
        part = ClassificationMetrics(classes)
        part.update(rows, truth)
        whole.merge(part)
    expected, merged = scores_of(logits, targets), whole.compute()
    assert (merged.top1, merged.top5, merged.count) == (expected.top1, expected.top5, count)
    assert np.array_equal(merged.confusion, expected.confusion)
    assert merged.calibration_error == pytest.approx(expected.calibration_error)


def test_ties_rank_like_argmax_and_nan_is_never_correct() -> None:
    flat = np.zeros((3, 3))
    assert top_k_correct(flat, np.array([0, 1, 2]), 1).tolist() == [True, False, False]
    assert top_k_correct(flat, np.array([0, 1, 2]), 2).tolist() == [True, True, False]
    assert not top_k_correct(np.full((1, 3), np.nan), np.array([0]), 2).any()


def test_class_255_of_1000_counts() -> None:
    scores = scores_of(np.eye(1000)[[255, 3]], np.array([255, 4]))
    assert (scores.count, scores.top1) == (2, 0.5)


def test_a_confidence_that_is_right_as_often_as_it_says_costs_nothing() -> None:
    metrics = ClassificationMetrics(2)
    probabilities = np.array([[1.0, 1e-9], [1.0, 1e-9], [0.4, 0.6], [0.4, 0.6]])
    metrics.update(np.log(probabilities), np.array([0, 0, 1, 0]))
    assert metrics.compute().calibration_error == pytest.approx(0.5 * 0.1)


def test_errors() -> None:
    with pytest.raises(DataError, match="no picture was evaluated"):
        ClassificationMetrics(3).compute()
    with pytest.raises(DataError, match="target 3 is no class index"):
        ClassificationMetrics(3).update(np.zeros((1, 3)), np.array([3]))
    with pytest.raises(DataError, match="shape"):
        ClassificationMetrics(3).update(np.zeros((2, 3)), np.array([0]))
