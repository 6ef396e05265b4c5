"""Dice and Lovasz against set arithmetic, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from hswish.train.losses.regions import dice, lovasz_softmax


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    """Two masks in which class 3 of 4 does not occur."""
    torch.manual_seed(2)
    masks = torch.randint(0, 3, (2, 4, 5))
    masks[0, 0], masks[1, :, 2] = 255, 255
    return torch.randn(2, 4, 4, 5).softmax(1), masks


def pixels(probabilities: torch.Tensor, masks: torch.Tensor) -> list[tuple[int, list[float]]]:
    return [
        (int(masks[n, y, x]), probabilities[n, :, y, x].tolist()) for n, y, x in torch.nonzero(masks != 255).tolist()
    ]


def test_dice(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = pixels(*case)
    scores = []
    for label in range(3):
        both = sum(p[label] for target, p in found if target == label)
        scores.append(2 * both / (sum(p[label] for _, p in found) + sum(target == label for target, _ in found)))
    assert dice(*case).item() == pytest.approx(1 - sum(scores) / 3, rel=1e-5)


def jaccard_loss(truth: set[int], wrong: set[int]) -> float:
    """1 - IoU of the class `truth` when the pixels `wrong` are on the wrong side."""
    return len(wrong) / len(truth | wrong)


def test_lovasz_is_the_extension_of_the_jaccard_loss(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Its definition (equation 8 of the paper): errors in falling order, times what each adds to the set function."""
    found = pixels(*case)
    losses = []
    for label in range(3):
        truth = {index for index, (target, _) in enumerate(found) if target == label}
        errors = {index: abs((index in truth) - p[label]) for index, (_, p) in enumerate(found)}
        wrong: set[int] = set()
        loss = 0.0
        for index in sorted(errors, key=lambda index: -errors[index]):
            loss += errors[index] * (jaccard_loss(truth, wrong | {index}) - jaccard_loss(truth, wrong))
            wrong.add(index)
        losses.append(loss)
    assert lovasz_softmax(*case).item() == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_hard_predictions_give_one_minus_the_mean_iou() -> None:
    masks = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 255]]])
    answer = torch.tensor([[[0, 1, 1, 1], [0, 0, 1, 0]]])
    probabilities = torch.nn.functional.one_hot(answer, 2).movedim(-1, 1).float()
    assert lovasz_softmax(probabilities, masks).item() == pytest.approx(1 - (2 / 4 + 3 / 5) / 2)


@pytest.mark.parametrize("loss", [dice, lovasz_softmax])
def test_gradients_against_differences(loss, case: tuple[torch.Tensor, torch.Tensor]) -> None:  # type: ignore[no-untyped-def]
    probabilities, masks = case[0].double().requires_grad_(), case[1]
    assert torch.autograd.gradcheck(lambda p: loss(p, masks), probabilities, eps=1e-7, atol=1e-5)
