"""The loss as a whole: its parts, and that batches add up."""

from __future__ import annotations

import pytest
import torch

from hswish.spec.errors import OptionError
from hswish.train import Recipe
from hswish.train.losses.loss import Criterion, Totals
from hswish.train.recipe_groups import Loss


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
    loss = Criterion(class_weights=weights)(logits, targets.to(torch.uint8))
    assert loss.item() == pytest.approx(total / weight_sum, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [Loss(), Loss(pixel="focal"), Loss(pixel="ohem"), Loss(region="dice"), Loss(region="lovasz")]
)
def test_nothing_labelled_is_zero_with_zero_gradient(loss: Loss) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = Criterion(loss)(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_label_smoothing() -> None:
    logits, target = torch.randn(1, 4), torch.tensor([2])
    log_probabilities = logits.log_softmax(1)[0]
    expected = -(0.9 * log_probabilities[2] + 0.1 * log_probabilities.mean())
    assert Criterion(label_smoothing=0.1)(logits, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_class_255_of_a_classifier_counts() -> None:
    """255 means unlabelled in masks only: a classifier may have 300 classes."""
    logits = torch.zeros(1, 300)
    assert Criterion()(logits, torch.tensor([255])).item() == pytest.approx(torch.tensor(300.0).log().item())


def test_soft_targets_that_are_hard_give_the_loss_of_labels() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 1])
    weights = torch.tensor([1.0, 3.0, 0.5, 2.0])
    for loss in (Loss(), Loss(pixel="focal")):
        criterion = Criterion(loss, class_weights=weights, label_smoothing=0.1)
        soft = torch.nn.functional.one_hot(labels, 4).float()
        assert criterion(logits, soft).item() == pytest.approx(criterion(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("loss", [Loss(), Loss(pixel="focal"), Loss(pixel="ohem")])
def test_batches_of_a_step_add_up_to_one_big_batch(loss: Loss) -> None:
    """Of unequal size, and with unequally many labelled pixels: value and gradient."""
    torch.manual_seed(0)
    masks = torch.randint(0, 3, (5, 6, 7))
    masks[0] = 255
    masks[3, :4] = 255
    logits, teacher = torch.randn(5, 3, 6, 7, requires_grad=True), torch.randn(5, 3, 6, 7)
    criterion = Criterion(loss, class_weights=torch.tensor([1.0, 4.0, 0.3]), teacher_weight=0.3, temperature=2.0)
    whole = criterion(logits, masks, auxiliary=logits * 0.5, teacher=teacher)
    (expected,) = torch.autograd.grad(whole, logits)
    parts = [slice(0, 2), slice(2, 3), slice(3, 5)]
    totals = Totals(*torch.stack([torch.stack(criterion.totals(masks[part])) for part in parts]).sum(0))
    values = [
        criterion(logits[part], masks[part], totals, auxiliary=logits[part] * 0.5, teacher=teacher[part])
        for part in parts
    ]
    (gradient,) = torch.autograd.grad(torch.stack(values).sum(), logits)
    assert sum(value.item() for value in values) == pytest.approx(whole.item(), rel=1e-5)
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_the_parts_are_weighed_as_the_recipe_says() -> None:
    torch.manual_seed(0)
    logits, other, teacher = (torch.randn(2, 3, 4, 4) for _ in range(3))
    masks = torch.randint(0, 3, (2, 4, 4))
    plain, region = Criterion()(logits, masks), Criterion(Loss(region="dice"))(logits, masks)
    assert region > plain
    twice = Criterion(Loss(region="dice", region_weight=2.0))(logits, masks)
    assert twice.item() == pytest.approx((plain + 2 * (region - plain)).item(), rel=1e-5)
    helped = Criterion(Loss(auxiliary=0.4))(logits, masks, auxiliary=other)
    assert helped.item() == pytest.approx((plain + 0.4 * Criterion()(other, masks)).item(), rel=1e-5)
    only_taught = Criterion(teacher_weight=1.0)(logits, masks, teacher=teacher)
    half = Criterion(teacher_weight=0.5)(logits, masks, teacher=teacher)
    assert half.item() == pytest.approx((plain + only_taught).item() / 2, rel=1e-5)


@pytest.mark.parametrize("loss", [Loss(pixel="ohem"), Loss(region="dice"), Loss(auxiliary=0.4)])
def test_losses_of_masks_are_refused_for_labels(loss: Loss) -> None:
    with pytest.raises(OptionError, match="is for masks"):
        Criterion.of(Recipe(loss=loss), "classification", None)


@pytest.mark.parametrize("targets", [torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, 4, 4, dtype=torch.uint8)])
def test_counting_asks_nothing_of_the_device(targets: torch.Tensor) -> None:
    """On `meta` there is no value to give, as there is none while a GPU records."""
    if targets.ndim == 1:
        targets = targets.long()
    criterion = Criterion(class_weights=torch.ones(3)).to("meta")
    assert all(total.shape == () for total in criterion.totals(targets.to("meta")))
