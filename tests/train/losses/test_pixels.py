"""Each loss against its formula, written out pixel by pixel in Python's own numbers."""

from __future__ import annotations

import math

import pytest
import torch

from hswish.train.losses.pixels import cross_entropy, divergence, focal, hardest_pixels


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    logits, masks = 2 * torch.randn(3, 4, 5, 6), torch.randint(0, 4, (3, 5, 6))
    masks[0, 0] = 255
    masks[1] = 255
    return logits, masks


def labelled(logits: torch.Tensor, masks: torch.Tensor, n: int) -> list[tuple[int, list[float]]]:
    """(class, probabilities) of each labelled pixel of picture n."""
    return [
        (int(masks[n, y, x]), softmax(logits[n, :, y, x].tolist())) for y, x in torch.nonzero(masks[n] != 255).tolist()
    ]


def test_focal(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, masks = case
    weight = [1.0, 2.0, 0.5, 3.0]
    expected = 0.0
    for n in range(3):
        for label, p in labelled(logits, masks, n):
            expected += -weight[label] * (1 - p[label]) ** 1.5 * math.log(p[label])
    found = focal(logits, masks, torch.tensor(weight), 0.0, 1.5)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert focal(logits, masks, None, 0.0, 0.0).item() == pytest.approx(
        cross_entropy(logits, masks, None, 0.0).item(), rel=1e-5
    )


@pytest.mark.parametrize(("threshold", "keep"), [(0.7, 0.01), (0.05, 0.25), (0.0, 1.0), (0.3, 0.5)])
def test_hardest_pixels(case: tuple[torch.Tensor, torch.Tensor], threshold: float, keep: float) -> None:
    logits, masks = case
    expected = 0.0
    for n in range(3):
        pixels = sorted((p[label] for label, p in labelled(logits, masks, n)))
        least = math.ceil(keep * len(pixels))
        hard = [p for rank, p in enumerate(pixels) if p < threshold or rank < least]
        expected += sum(-math.log(p) for p in hard) / len(hard) if hard else 0.0
    found = hardest_pixels(logits, masks, None, 0.0, threshold, keep)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_divergence(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, masks = case
    teacher, temperature = torch.randn(3, 4, 5, 6), 3.0
    expected = 0.0
    for n, y, x in torch.nonzero(masks != 255).tolist():
        student = softmax([value / temperature for value in logits[n, :, y, x].tolist()])
        wanted = softmax([value / temperature for value in teacher[n, :, y, x].tolist()])
        expected += temperature**2 * sum(q * math.log(q / p) for q, p in zip(wanted, student, strict=True))
    found = divergence(logits, teacher, temperature, (masks != 255).float())
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert divergence(logits, logits, temperature, (masks != 255).float()).item() == pytest.approx(0.0, abs=1e-4)
