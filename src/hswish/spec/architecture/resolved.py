"""A network with every number fixed: what the torch modules and the budget are built from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hswish.spec.architecture.options import Options, Task
from hswish.spec.architecture.segmentation import Pooling
from hswish.spec.architecture.tables import Activation


@dataclass(frozen=True, kw_only=True)
class Block:
    """An inverted residual with squeeze-and-excitation (Figure 4)."""

    kernel: int
    stride: int
    dilation: int
    in_channels: int
    expand_channels: int
    out_channels: int
    se_channels: int
    """width of the squeeze; 0 means no squeeze-and-excitation"""
    act: Activation
    output_stride: int
    """input size over this block's output size"""
    stage: int
    """index of its run of blocks with one output width in the table"""
    has_residual: bool
    """the input is added to the output, where both have one shape"""
    se_act: Activation = "relu"
    """non-linearity inside the squeeze-and-excitation"""
    se_first: bool = False
    """squeeze-and-excitation before the depthwise convolution's non-linearity"""

    @property
    def has_expand(self) -> bool:
        """The 1x1 expansion is left out where it would not widen (first row of both tables)."""
        return self.expand_channels != self.in_channels


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Stem, blocks and the last 1x1 convolution."""

    in_channels: int
    stem_channels: int
    stem_stride: int = 2
    blocks: tuple[Block, ...]
    last_channels: int
    last_convs: int = 1
    """more than one only in networks deepened by `depth_mult`"""
    act: Activation


@dataclass(frozen=True, kw_only=True)
class ClassifierHead:
    """Efficient last stage (Figure 5): pool, 1x1 conv, activation, dropout, linear."""

    in_channels: int
    hidden_channels: int
    hidden_bias: bool = True
    num_classes: int
    dropout: float
    act: Activation


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A shallower map that a segmentation head takes in."""

    tap: str
    """the map's name, as `models.backbone.feature_table` has it"""
    channels: int
    reduced: int = 0
    """width it is brought to before it is concatenated; 0 where class scores are summed"""


@dataclass(frozen=True, kw_only=True)
class GatedHead:
    """What the readings of Lite R-ASPP share: the deep map, gated by its pooled surroundings."""

    high_channels: int
    """channels of the deepest map (the last 1x1 convolution's output)"""
    channels: int
    """F: width of the head"""
    num_classes: int
    dropout: float
    pooling: Pooling | None
    """None: global"""
    gate: Literal["sigmoid", "hard_sigmoid"]
    gate_bias: bool
    bn_eps: float


@dataclass(frozen=True, kw_only=True)
class LRASPPHead(GatedHead):
    """Lite R-ASPP (Figure 10): the gated map and a 1/8 skip, summed as class scores."""

    skip: Skip
    align_corners: bool


@dataclass(frozen=True, kw_only=True)
class ConcatHead(GatedHead):
    """Lite R-ASPP with a decoder: the gated map meets a 1/4 and a 1/2 skip by concatenation."""

    skips: tuple[Skip, Skip]
    """at 1/4, then at 1/2"""


@dataclass(frozen=True, kw_only=True)
class RASPPHead:
    """R-ASPP: a 1x1 branch and a pooled branch, concatenated; no skip."""

    high_channels: int
    channels: int
    num_classes: int
    dropout: float
    bn_eps: float


SegmentationHead = LRASPPHead | ConcatHead | RASPPHead


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A whole network."""

    name: str
    task: Task
    options: Options
    backbone: Backbone
    head: ClassifierHead | SegmentationHead
    source: str

    def options_dict(self) -> dict[str, Any]:
        """The options as an artifact stores them; `resolve(name, **these)` gives this network again."""
        return asdict(self.options)
