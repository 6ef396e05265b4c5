"""Tables 1 and 2 of the paper as printed: a row of the table is a line of code.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019 (arXiv 1905.02244), section 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Activation = Literal["relu", "hard_swish"]

RE: Activation = "relu"
HS: Activation = "hard_swish"


@dataclass(frozen=True, kw_only=True)
class Bneck:
    """One `bneck` row of Table 1 or 2, at width 1."""

    kernel: int
    """side of the depthwise kernel"""
    expand: int
    """channels of the expanded tensor, "exp size" """
    out: int
    """channels of the block's output, "#out" """
    se: bool
    """squeeze-and-excitation after the depthwise convolution, "SE" """
    act: Activation
    """non-linearity of the expand and depthwise convolutions, "NL" """
    stride: int
    """stride of the depthwise convolution, "s" """


@dataclass(frozen=True, kw_only=True)
class Table:
    """A whole column of the paper: stem, rows, last stage."""

    stem: int
    """channels of the first 3x3 convolution, stride 2"""
    rows: tuple[Bneck, ...]
    last: int
    """channels of the last 1x1 convolution before the pooling"""
    hidden: int
    """channels of the 1x1 convolution after the pooling (no batch norm)"""
    act: Activation
    """non-linearity of the stem and of the last stage"""
    source: str


# fmt: off
LARGE = Table(source="Table 1", stem=16, last=960, hidden=1280, act=HS, rows=(  # input 224² x 3
    Bneck(kernel=3, expand=16,  out=16,  se=False, act=RE, stride=1),  # 112² x 16
    Bneck(kernel=3, expand=64,  out=24,  se=False, act=RE, stride=2),  # 112² x 16
    Bneck(kernel=3, expand=72,  out=24,  se=False, act=RE, stride=1),  # 56² x 24
    Bneck(kernel=5, expand=72,  out=40,  se=True,  act=RE, stride=2),  # 56² x 24
    Bneck(kernel=5, expand=120, out=40,  se=True,  act=RE, stride=1),  # 28² x 40
    Bneck(kernel=5, expand=120, out=40,  se=True,  act=RE, stride=1),  # 28² x 40
    Bneck(kernel=3, expand=240, out=80,  se=False, act=HS, stride=2),  # 28² x 40
    Bneck(kernel=3, expand=200, out=80,  se=False, act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=184, out=80,  se=False, act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=184, out=80,  se=False, act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=480, out=112, se=True,  act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=672, out=112, se=True,  act=HS, stride=1),  # 14² x 112
    Bneck(kernel=5, expand=672, out=160, se=True,  act=HS, stride=2),  # 14² x 112
    Bneck(kernel=5, expand=960, out=160, se=True,  act=HS, stride=1),  # 7² x 160
    Bneck(kernel=5, expand=960, out=160, se=True,  act=HS, stride=1),  # 7² x 160
))

SMALL = Table(source="Table 2", stem=16, last=576, hidden=1024, act=HS, rows=(  # input 224² x 3
    Bneck(kernel=3, expand=16,  out=16, se=True,  act=RE, stride=2),   # 112² x 16
    Bneck(kernel=3, expand=72,  out=24, se=False, act=RE, stride=2),   # 56² x 16
    Bneck(kernel=3, expand=88,  out=24, se=False, act=RE, stride=1),   # 28² x 24
    Bneck(kernel=5, expand=96,  out=40, se=True,  act=HS, stride=2),   # 28² x 24
    Bneck(kernel=5, expand=240, out=40, se=True,  act=HS, stride=1),   # 14² x 40
    Bneck(kernel=5, expand=240, out=40, se=True,  act=HS, stride=1),   # 14² x 40
    Bneck(kernel=5, expand=120, out=48, se=True,  act=HS, stride=1),   # 14² x 40
    Bneck(kernel=5, expand=144, out=48, se=True,  act=HS, stride=1),   # 14² x 48
    Bneck(kernel=5, expand=288, out=96, se=True,  act=HS, stride=2),   # 14² x 48
    Bneck(kernel=5, expand=576, out=96, se=True,  act=HS, stride=1),   # 7² x 96
    Bneck(kernel=5, expand=576, out=96, se=True,  act=HS, stride=1),   # 7² x 96
))
# fmt: on


def minimalistic(table: Table) -> Table:
    """The "minimalistic" variant of the authors' code: 3x3 only, no SE, ReLU everywhere."""
    rows = tuple(replace(row, kernel=3, se=False, act=RE) for row in table.rows)
    return replace(table, rows=rows, act=RE, source=f"{table.source}, minimalistic")


TABLES: dict[str, Table] = {
    "mobilenet_v3_large": LARGE,
    "mobilenet_v3_small": SMALL,
    "mobilenet_v3_large_minimal": minimalistic(LARGE),
    "mobilenet_v3_small_minimal": minimalistic(SMALL),
}
