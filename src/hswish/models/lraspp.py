"""Lite R-ASPP (section 6.4, Figure 10): segmentation on top of MobileNetV3.

high (N, C, H/16, W/16) --1x1 conv, BN, ReLU---------------- * --up--1x1 conv -- + --up--> logits (N, K, H, W)
                        --average pool, 1x1 conv, sigmoid ---'                   |
low  (N, C', H/8, W/8)  -----------------------------------------------1x1 conv -'

Its readings (which skip, which pooling, which sigmoid) are data: `spec/architecture/segmentation.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models.activations import HSigmoid
from hswish.models.block import ConvNormAct
from hswish.spec.architecture import GatedHead, LRASPPHead, Options, Pooling


class GatedFeatures(nn.Module):
    """The 1/16 branch: deep map (N, C, h, w) to features (N, F, h, w), each channel gated by its surroundings."""

    def __init__(self, head: GatedHead, options: Options) -> None:
        super().__init__()
        self.features = ConvNormAct(head.high_channels, head.channels, options, act="relu", bn_eps=head.bn_eps)
        self.pool = WindowPool(head.pooling) if head.pooling else nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(head.high_channels, head.channels, 1, bias=head.gate_bias)
        self.sigmoid = HSigmoid() if head.gate == "hard_sigmoid" else nn.Sigmoid()
        self.dropout = nn.Dropout(head.dropout)
        self.resize_gate = head.pooling is not None

    def gated(self, high: Tensor) -> Tensor:
        """Sigmoid(Conv(pool(x))) * ReLU(BN(Conv(x)))."""
        features = self.features(high)
        attention = self.sigmoid(self.gate(self.pool(high)))
        if self.resize_gate:
            attention = upsample(attention, features, align_corners=True)
        return self.dropout(attention * features)


class LiteRASPP(GatedFeatures):
    """The head: deep map (N, high, h, w) and skip (N, low, h', w') to logits (N, K, h', w')."""

    def __init__(self, head: LRASPPHead, options: Options) -> None:
        super().__init__(head, options)
        self.project_high = nn.Conv2d(head.channels, head.num_classes, 1)
        self.project_low = nn.Conv2d(head.skip.channels, head.num_classes, 1)
        self.align_corners = head.align_corners

    def forward(self, high: Tensor, skips: Sequence[Tensor]) -> Tensor:
        (low,) = skips
        high = upsample(self.gated(high), low, align_corners=self.align_corners)
        return self.project_high(high) + self.project_low(low)


class WindowPool(nn.Module):
    """Average pooling by a large window with a stride; (N, C, h, w) to the grid of `Pooling.grid`.

    A map smaller than the window is pooled globally along that side, so any input size works.
    """

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.window, self.stride = pooling.window, pooling.stride

    def forward(self, x: Tensor) -> Tensor:
        return window_pool(x, self.window, self.stride)


@torch.fx.wrap
def window_pool(x: Tensor, window: int, stride: tuple[int, int]) -> Tensor:
    """VALID average pooling, the window cut to the map's height and width."""
    height, width = x.shape[-2:]
    return F.avg_pool2d(x, (min(window, height), min(window, width)), stride)


@torch.fx.wrap
def upsample(x: Tensor, like: Tensor, align_corners: bool = False) -> Tensor:
    """Bilinear resize of (N, C, h, w) to the height and width of `like`; half-pixel centres by default."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=align_corners)
