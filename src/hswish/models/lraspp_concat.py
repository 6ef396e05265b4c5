"""Lite R-ASPP with a decoder, as fastseg (and, with other widths, mmsegmentation) builds it.

gated (N, F, H/8, W/8) --1x1--up-- concat --1x1 conv, BN, ReLU--up-- concat --1x1 conv, BN, ReLU--1x1--> (N, K, ...)
1/4 skip --1x1, 64 ----------------'                                 |
1/2 skip --1x1, 32 --------------------------------------------------'

Not the paper's graph: its Figure 10 has one skip at 1/8 and sums class scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hswish.models.block import ConvNormAct
from hswish.models.lraspp import GatedFeatures, upsample
from hswish.spec.architecture import ConcatHead, Options


class ConcatLiteRASPP(GatedFeatures):
    """The head: deep map (N, high, h, w) and skips at 1/4 and 1/2 to logits (N, K, H/2, W/2)."""

    def __init__(self, head: ConcatHead, options: Options) -> None:
        super().__init__(head, options)
        width = head.channels
        quarter, half = head.skips
        self.project = nn.Conv2d(width, width, 1)
        self.skip_4 = nn.Conv2d(quarter.channels, quarter.reduced, 1, bias=False)
        self.fuse_4 = ConvNormAct(width + quarter.reduced, width, options, act="relu", bn_eps=head.bn_eps)
        self.skip_2 = nn.Conv2d(half.channels, half.reduced, 1, bias=False)
        self.fuse_2 = ConvNormAct(width + half.reduced, width, options, act="relu", bn_eps=head.bn_eps)
        self.classifier = nn.Conv2d(width, head.num_classes, 1)

    def forward(self, high: Tensor, skips: Sequence[Tensor]) -> Tensor:
        quarter, half = skips
        x = self.project(self.gated(high))
        x = self.fuse_4(torch.cat([upsample(x, quarter), self.skip_4(quarter)], 1))
        x = self.fuse_2(torch.cat([upsample(x, half), self.skip_2(half)], 1))
        return self.classifier(x)
