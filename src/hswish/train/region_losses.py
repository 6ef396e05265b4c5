"""Losses of whole regions: how much the mask of each class overlaps, over the pictures of a batch.

Probabilities (N, K, H, W) and masks (N, H, W), 255 is not labelled. Classes that a batch does
not show are left out: their overlap is no matter of degree.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hswish.spec.palette import IGNORE_INDEX


def dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """1 - 2 |A and B| / (|A| + |B|), the mean over the classes shown (arXiv 1606.04797)."""
    found, shown = _labelled(probabilities, masks)
    both = (found * shown).sum(0)
    either = found.sum(0) + shown.sum(0)
    present = shown.any(0)
    return (1 - 2 * both[present] / either[present]).sum() / present.sum().clamp(min=1)


def lovasz_softmax(probabilities: Tensor, masks: Tensor) -> Tensor:
    """The Lovasz extension of 1 - IoU, the mean over the classes shown (Berman et al., arXiv 1705.08790).

    For each class the errors |t - p| are sorted, largest first; each weighs as much as it adds
    to 1 - IoU when the pixels before it are wrong already. The gradient is that of the score itself.
    """
    found, shown = _labelled(probabilities, masks)
    losses = []
    for index in torch.nonzero(shown.any(0)).flatten().tolist():
        truth = shown[:, index]
        errors, order = (truth - found[:, index]).abs().sort(descending=True)
        truth = truth[order]
        left = truth.sum() - truth.cumsum(0)  # of the class, not yet wrong
        union = truth.sum() + (1 - truth).cumsum(0)  # the class and what was wrongly added to it
        loss_so_far = 1 - left / union
        added = torch.diff(loss_so_far, prepend=loss_so_far.new_zeros(1))
        losses.append((errors * added).sum())
    return torch.stack(losses).mean() if losses else found.sum() * 0.0


def _labelled(probabilities: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The M labelled pixels: their probabilities (M, K), and the truth as 0 and 1 (M, K)."""
    classes = probabilities.shape[1]
    counted = masks != IGNORE_INDEX
    found = probabilities.movedim(1, -1)[counted]
    return found, F.one_hot(masks[counted].long(), classes).to(found.dtype)
