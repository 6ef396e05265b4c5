"""The segmentation heads, as data: one Lite R-ASPP in the readings that are in use, and R-ASPP.

Figure 10 leaves open which 1/8 map is the skip, how the deep map is pooled, and which sigmoid
gates it; code bases differ, and their weights only fit their own reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

HeadName = Literal["lraspp", "official", "seed", "torchvision", "fastseg", "raspp"]


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Average pooling by a window, VALID, never larger than the map (section 6.4)."""

    window: int
    """side in cells of the deep map"""
    stride: tuple[int, int]
    """(down, across) in cells"""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Size of the pooled map of a (height, width) deep map."""
        sides = zip((height, width), self.stride, strict=True)
        rows, columns = ((size - min(self.window, size)) // step + 1 for size, step in sides)
        return rows, columns


# The window covers a training crop of 769 pixels, so that training pools globally. 49 and (16, 20) are the
# paper's, 25 and (4, 5) the flags of the released checkpoints at output stride 32; 97 follows the same rule.
OFFICIAL_POOLING = {
    32: Pooling(window=25, stride=(4, 5)),
    16: Pooling(window=49, stride=(16, 20)),
    8: Pooling(window=97, stride=(32, 40)),
}


@dataclass(frozen=True, kw_only=True)
class Head:
    """One reading of Figure 10."""

    fusion: Literal["sum", "concat", "none"]
    """how the skips join: class scores are summed; features are concatenated step by step, at 1/4 and
    1/2; not at all (R-ASPP)"""
    skip: Literal["last depthwise", "first output"] = "last depthwise"
    """for the sum: the depthwise output (before squeeze-and-excitation) of the last 1/8 block, or the
    output of the first"""
    pooling: Literal["global", "window", "window 49"] = "global"
    gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    gate_bias: bool = True
    align_corners: bool = False
    """bilinear resizes map corner pixels to corner pixels (TensorFlow 1), not edges to edges"""
    bn_eps: float | None = None
    """of the head's batch norm; None: the network's"""
    source: str
    defaults: dict[str, Any] = field(default_factory=dict)
    """of `Options`, where a user sets nothing"""


_CITYSCAPES = {"num_classes": 19, "dropout": 0.0}
_TABLE_7 = {**_CITYSCAPES, "output_stride": 16, "reduced_tail": True, "head_channels": 128}  # RF2, F = 128

HEADS: dict[str, Head] = {
    "lraspp": Head(
        source="the official graph with global pooling and the figure's sigmoid",
        fusion="sum",
        defaults=_TABLE_7,
    ),
    "official": Head(
        source="tensorflow/models, research/deeplab: Tables 7 and 8",
        fusion="sum",
        pooling="window",
        gate="hard_sigmoid",
        align_corners=True,
        bn_eps=1e-5,
        defaults=_TABLE_7,
    ),
    "seed": Head(
        source="Figure 10 read plainly: output tap, global pooling, sigmoid",
        fusion="sum",
        skip="first output",
        defaults={**_CITYSCAPES, "output_stride": 16, "head_channels": 128},
    ),
    "torchvision": Head(
        source="pytorch/vision, models/segmentation/lraspp.py",
        fusion="sum",
        skip="first output",
        gate_bias=False,
        bn_eps=1e-5,
        defaults={
            "num_classes": 21,
            "dropout": 0.0,
            "output_stride": 16,
            "head_channels": 128,
            "width_rule": "torchvision",
            "atrous_rule": "torchvision",
        },
    ),
    "fastseg": Head(
        source="ekzhang/fastseg, model/lraspp.py",
        fusion="concat",
        pooling="window 49",
        gate_bias=False,
        bn_eps=1e-5,
        defaults={
            **_CITYSCAPES,
            "output_stride": 8,
            "head_channels": 128,
            "width_rule": "timm",
            "atrous_rule": "torchvision",
            "padding": "same",
        },
    ),
    "raspp": Head(
        source="R-ASPP of MobileNetV2 (Sandler et al., 2018): Table 7, rows 5 and 6",
        fusion="none",
        defaults={**_TABLE_7, "head_channels": 256},
    ),
}
