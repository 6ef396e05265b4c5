"""Losses that are a sum over pictures or pixels, each with its logits and its target.

logits (N, K) with labels (N,) or soft targets (N, K); or (N, K, H, W) with masks (N, H, W),
where 255 is not labelled and counts nothing. Sums, not means: what they are divided by is
known only when all batches and processes of a step are (`loss.py`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hswish.spec.palette import IGNORE_INDEX

_NOTHING = -100  # torch's own mark; a classifier may well have a class 255


def cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """Sum of -weight * log p of the target, with `smoothing` of it spread over all classes."""
    if targets.is_floating_point():
        return F.cross_entropy(logits, targets, weight, reduction="sum", label_smoothing=smoothing)
    return _elements(logits, targets, weight, smoothing).sum()


def focal(logits: Tensor, targets: Tensor, weight: Tensor | None, smoothing: float, gamma: float) -> Tensor:
    """Sum of cross-entropy times (1 - p)^gamma, p the probability of the target (arXiv 1708.02002)."""
    probabilities = logits.softmax(1)
    if targets.is_floating_point():
        elements = F.cross_entropy(logits, targets, weight, reduction="none", label_smoothing=smoothing)
        found = (probabilities * targets).sum(1)
    else:
        elements = _elements(logits, targets, weight, smoothing)
        found = _of_target(probabilities, targets)
    return (elements * (1 - found).clamp(min=0) ** gamma).sum()


def hardest_pixels(
    logits: Tensor, masks: Tensor, weight: Tensor | None, smoothing: float, threshold: float, keep: float
) -> Tensor:
    """Sum over pictures of the mean cross-entropy of their hard pixels (OHEM, arXiv 1604.03540).

    Hard are those whose class has a probability below `threshold`, and at least the hardest
    part `keep` of a picture's labelled pixels.
    """
    elements = _elements(logits, masks, weight, smoothing)  # (N, H, W)
    surprise = -_of_target(logits.detach().log_softmax(1), masks)
    total = logits.sum() * 0.0
    for element, hardness, mask in zip(elements, surprise, masks, strict=True):
        labelled = mask != IGNORE_INDEX
        count = int(labelled.sum())
        if count:
            hardness = hardness[labelled]
            least = hardness.topk(max(1, math.ceil(keep * count))).values[-1]
            hard = (hardness > -math.log(max(threshold, 1e-6))) | (hardness >= least)
            counted = hard if weight is None else hard * weight[mask[labelled].long()]
            total = total + (element[labelled] * hard).sum() / counted.sum().clamp(min=1e-12)
    return total


def divergence(logits: Tensor, teacher: Tensor, temperature: float, counted: Tensor) -> Tensor:
    """Sum of T² KL(teacher || student) over pictures or counted pixels (arXiv 1503.02531).

    Args:
        logits, teacher: (N, K), or (N, K, H, W).
        counted: (N,), or (N, H, W), which ones to sum.
    """
    wanted = (teacher / temperature).log_softmax(1)
    found = (logits / temperature).log_softmax(1)
    elements = (wanted.exp() * (wanted - found)).sum(1)
    return (elements * counted).sum() * temperature**2


def _elements(logits: Tensor, targets: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    ignored = IGNORE_INDEX if targets.ndim == 3 else _NOTHING
    return F.cross_entropy(
        logits, targets.long(), weight, ignore_index=ignored, reduction="none", label_smoothing=smoothing
    )


def _of_target(values: Tensor, targets: Tensor) -> Tensor:
    """The value (N, K, ...) of each target's own class (N, ...); of any class where 255 is no class."""
    indices = targets.long()
    if targets.ndim == 3:
        indices = torch.where(indices == IGNORE_INDEX, 0, indices)
    return values.gather(1, indices.unsqueeze(1)).squeeze(1)
