"""Cross-entropy for labels and for masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.spec.palette import IGNORE_INDEX


class CrossEntropy(nn.Module):
    """Mean over pictures, or over labelled pixels; 0 where nothing is labelled.

    logits (N, K) with targets (N,), or (N, K, H, W) with masks (N, H, W), where 255 is ignored.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        targets = targets.long()
        ignored = IGNORE_INDEX if logits.ndim == 4 else -100  # a classifier may well have a class 255
        if not bool((targets != ignored).any()):  # the mean of nothing would be NaN
            return logits.sum() * 0.0
        weight = self.class_weights
        assert weight is None or isinstance(weight, torch.Tensor)
        return F.cross_entropy(
            logits.float(),
            targets,
            weight=weight,
            ignore_index=ignored,
            label_smoothing=self.label_smoothing,
        )
