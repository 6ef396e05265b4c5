"""Losses of whole regions: how much the mask of each class overlaps, over the pictures of a batch.

Probabilities (N, K, H, W) and masks (N, H, W), 255 is not labelled. Classes that a batch does
not show are left out: their overlap is no matter of degree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hswish.spec.palette import IGNORE_INDEX


def dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Soft Dice: 1 - 2 |A and B| / (|A| + |B|), the mean over the classes shown.

    The sums are plain, as in arXiv 1707.03237 (whose weights of classes are left out); V-Net's are of squares
    (arXiv 1606.04797).
    """
    found, shown, counted = _pixels(probabilities, masks)
    both = (found * shown).sum(1)
    either = (found * counted).sum(1) + shown.sum(1)
    present = shown.any(1)
    return _mean_of(1 - 2 * both / either.clamp(min=1e-12), present)


def lovasz_softmax(probabilities: Tensor, masks: Tensor) -> Tensor:
    """The Lovasz extension of 1 - IoU, the mean over the classes shown (Berman et al., arXiv 1705.08790).

    For each class the errors |t - p| are sorted, largest first; each weighs as much as it adds
    to 1 - IoU when the pixels before it are wrong already. The gradient is that of the score itself.
    """
    found, shown, counted = _pixels(probabilities, masks)
    # Pixels that are not labelled come last and add nothing.
    errors, order = torch.where(counted, (shown - found).abs(), -1.0).sort(1, descending=True)
    truth, valid = shown.gather(1, order), errors >= 0
    size = truth.sum(1, keepdim=True)
    left = size - truth.cumsum(1)  # of the class, not yet wrong
    union = size + ((1 - truth) * valid).cumsum(1)  # the class and what was wrongly added to it
    loss_so_far = 1 - left / union.clamp(min=1)
    added = torch.diff(loss_so_far, dim=1, prepend=torch.zeros_like(size))
    return _mean_of((errors.clamp(min=0) * added).sum(1), size[:, 0] > 0)


def _pixels(probabilities: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all M pixels: their probabilities (K, M), the truth as 0 and 1 (K, M), which are labelled (M,).

    Nothing is taken out, so that shapes are known without a look at the values: a GPU's step can be recorded.
    """
    labels = masks.flatten()
    shown = labels == torch.arange(probabilities.shape[1], device=masks.device)[:, None]
    return probabilities.transpose(0, 1).flatten(1), shown.to(probabilities.dtype), labels != IGNORE_INDEX


def _mean_of(losses: Tensor, present: Tensor) -> Tensor:
    """The mean of `losses` (K,) where `present`; 0 where none is."""
    return torch.where(present, losses, 0.0).sum() / present.sum().clamp(min=1)
