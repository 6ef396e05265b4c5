"""R-ASPP, the heavier head that Lite R-ASPP replaced (Sandler et al., 2018; Table 7, rows 5 and 6).

high (N, C, H/16, W/16) --1x1 conv, BN, ReLU ----------------- concat --1x1 conv, BN, ReLU--1x1--> (N, K, h, w)
                        --global pool, 1x1 conv, BN, ReLU--spread'
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hswish.models.block import ConvNormAct
from hswish.spec.architecture import Options, RASPPHead


class ReducedASPP(nn.Module):
    """The head: deep map (N, high, h, w) to logits (N, K, h, w); it takes no skip."""

    def __init__(self, head: RASPPHead, options: Options) -> None:
        super().__init__()
        width = head.channels
        self.features = ConvNormAct(head.high_channels, width, options, act="relu", bn_eps=head.bn_eps)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pooled = ConvNormAct(head.high_channels, width, options, act="relu", bn_eps=head.bn_eps)
        self.project = ConvNormAct(2 * width, width, options, act="relu", bn_eps=head.bn_eps)
        self.dropout = nn.Dropout(head.dropout)
        self.classifier = nn.Conv2d(width, head.num_classes, 1)

    def forward(self, high: Tensor, skips: Sequence[Tensor]) -> Tensor:
        features = self.features(high)
        pooled = self.pooled(self.pool(high)).expand_as(features)
        x = self.project(torch.cat([features, pooled], 1))
        return self.classifier(self.dropout(x))
