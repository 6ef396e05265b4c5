"""Cross-entropy against the sum written out."""

from __future__ import annotations

import pytest
import torch

from hswish.train.loss import CrossEntropy


def test_masks_ignore_255_and_weigh_classes() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    targets[0, :2] = 255
    weights = torch.tensor([1.0, 2.0, 0.5])
    total = weight_sum = 0.0
    log_probabilities = logits.log_softmax(1)
    for n, y, x in torch.nonzero(targets != 255).tolist():
        label = int(targets[n, y, x])
        total += float(-weights[label] * log_probabilities[n, label, y, x])
        weight_sum += float(weights[label])
    loss = CrossEntropy(class_weights=weights)(logits, targets.to(torch.uint8))
    assert loss.item() == pytest.approx(total / weight_sum, rel=1e-5)


def test_nothing_labelled_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = CrossEntropy()(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_label_smoothing() -> None:
    logits, target = torch.randn(1, 4), torch.tensor([2])
    log_probabilities = logits.log_softmax(1)[0]
    expected = -(0.9 * log_probabilities[2] + 0.1 * log_probabilities.mean())
    assert CrossEntropy(0.1)(logits, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_class_255_of_a_classifier_counts() -> None:
    """255 means unlabelled in masks only: a classifier may have 300 classes."""
    logits = torch.zeros(1, 300)
    assert CrossEntropy()(logits, torch.tensor([255])).item() == pytest.approx(torch.tensor(300.0).log().item())
