"""Lite R-ASPP (section 6.4, Figure 10): segmentation on top of MobileNetV3.

high (N, C, H/16, W/16) --1x1 conv, BN, ReLU---------------- * --up--1x1 conv -- + --up--> logits (N, K, H, W)
                        --average pool, 1x1 conv, sigmoid ---'                   |
low  (N, C', H/8, W/8)  -----------------------------------------------1x1 conv -'
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models.backbone import Backbone
from hswish.models.block import ConvNormAct
from hswish.models.described import DescribedModule
from hswish.spec.architecture import Architecture, LRASPPHead, Options


class LiteRASPP(nn.Module):
    """The head: deep map (N, high, h, w) and skip (N, low, h', w') to logits (N, K, h', w')."""

    def __init__(self, head: LRASPPHead, options: Options) -> None:
        super().__init__()
        self.features = ConvNormAct(head.high_channels, head.channels, options, act="relu")
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(head.high_channels, head.channels, 1)
        self.sigmoid = nn.Sigmoid()
        self.dropout = nn.Dropout(head.dropout)
        self.project_high = nn.Conv2d(head.channels, head.num_classes, 1)
        self.project_low = nn.Conv2d(head.low_channels, head.num_classes, 1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        attention = self.sigmoid(self.gate(self.pool(high)))
        gated = self.dropout(attention * self.features(high))
        return self.project_high(upsample(gated, low)) + self.project_low(low)


class LRASPP(DescribedModule):
    """(N, in_channels, H, W) to logits (N, num_classes, H, W), at the input's exact size."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__(arch)
        assert isinstance(arch.head, LRASPPHead)
        self.backbone = Backbone(arch)
        self.head = LiteRASPP(arch.head, arch.options)
        self.taps = ("last", f"blocks.{arch.head.low_block}.depthwise")

    def forward(self, x: Tensor) -> Tensor:
        high, low = self.backbone.taps(x, self.taps)
        return upsample(self.head(high, low), x)


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of (N, C, h, w) to the height and width of `like`; half-pixel centres."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
