"""A network in 8 bits: the operations of `hswish.spec.graph` with what each is rounded to.

    value   real = scale * (q - zero_point)     q in 0..255, one scale a tensor, asymmetric
    weight  real = scale[out] * q               q in -127..127, one scale an output channel, symmetric
    bias    real = scale[in] * scale[out] * q   q in int32, at the scale of the products

A convolution or linear layer whose input is held in bytes and whose weights have scales computes in
integers, and its result is exact before it is rounded again:

    acc  = sum over the window of (q_in - zero_point_in) * q_weight, + q_bias                       int32
    real = float32(acc) * multiplier[out], multiplier = float32(scale_in * scale_weight[out])       float32
    real = activation(real)                                                                         float32
    q    = clip(round_half_even(real * float32(1 / scale_out)) + zero_point_out, 0, 255)            uint8

A padded pixel is `zero_point_in`, which stands for 0. The activation after a layer belongs to the same
step (`Graph.fused`); where the value before it has no `Range`, it is never rounded. A value that has no
`Range` is float32; a layer with weight scales whose input is float32 holds its weights in 8 bits and
computes in float32. `hswish.quantize.reference` is this text as slow code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hswish.spec.graph import Convolution, Graph, Linear

LEVELS = 255
"""Highest code of a value in bytes."""
BIAS_LIMIT = 2**22
"""Largest bias in units of the products: a float32 holds it exactly, and int32 sums stay far from overflow."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """How a value is held in bytes: real = scale * (q - zero_point), q in 0..255."""

    scale: float
    """a float32 number, positive"""
    zero_point: int
    """0..255: the code of 0"""

    @classmethod
    def over(cls, low: float, high: float) -> Range:
        """The range that holds [low, high] and 0, with 0 on a code."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(max((high - low) / LEVELS, 1e-12)))
        return cls(scale=scale, zero_point=int(np.clip(np.rint(-low / scale), 0, LEVELS)))

    @property
    def low(self) -> float:
        """The smallest number it holds."""
        return self.scale * -self.zero_point

    @property
    def high(self) -> float:
        """The largest number it holds."""
        return self.scale * (LEVELS - self.zero_point)

    def quantise(self, real: NDArray[np.float32]) -> NDArray[np.uint8]:
        """To bytes: the nearest code, of two equally near ones the even."""
        steps = np.rint(real.astype(np.float32) * np.float32(1 / np.float32(self.scale)))
        return np.clip(steps + self.zero_point, 0, LEVELS).astype(np.uint8)

    def real(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From bytes."""
        return (codes.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerWeights:
    """What an integer kernel reads of one layer."""

    weight: NDArray[np.int8]
    """of the layer's own shape; -127..127, or -63..63 in 7 bits"""
    scale: NDArray[np.float32]
    """(out,)"""
    bias: NDArray[np.int32] | None
    """(out,) in units of `scale_in * scale[out]`; None where the input is float32, and so is the bias"""


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedGraph:
    """A graph with the ranges of its values and the scales of its weights; what is not named is float32."""

    graph: Graph
    """weights and biases in float32, as the passes have left them"""
    values: Mapping[str, Range]
    """of each value held in bytes, the input's included, by name"""
    scales: Mapping[str, NDArray[np.float32]]
    """(out,) for each layer whose weights are held in 8 bits, by name"""
    weight_bits: int = 8
    """8, or 7 for x86 processors whose 16-bit sums of products saturate (no VNNI)"""
    notes: Mapping[str, str] = field(default_factory=dict)
    """what the passes did, for reports"""

    @property
    def top(self) -> int:
        """Largest code of a weight."""
        return 2 ** (self.weight_bits - 1) - 1

    def computes_in_integers(self, name: str) -> bool:
        """Whether a layer multiplies bytes by 8-bit weights."""
        return name in self.scales and self.graph[name].inputs[0] in self.values

    def layer(self, name: str) -> Convolution | Linear:
        """A node that has weights."""
        node = self.graph[name]
        assert isinstance(node, (Convolution, Linear)), name
        return node

    def product_scale(self, name: str) -> NDArray[np.float32]:
        """(out,): what one unit of the integer sums of a layer is worth; its bias's scale, too."""
        node = self.layer(name)
        return (np.float64(self.values[node.inputs[0]].scale) * self.scales[name]).astype(np.float32)

    def integers(self, name: str) -> IntegerWeights:
        """The codes of one layer of `scales`."""
        node, scale = self.layer(name), self.scales[name]
        spread = scale.reshape(-1, *[1] * (node.weight.ndim - 1)).astype(np.float64)
        weight = np.clip(np.rint(node.weight / spread), -self.top, self.top).astype(np.int8)
        bias = None
        if self.computes_in_integers(name):
            bias = np.rint(node.bias.astype(np.float64) / self.product_scale(name)).astype(np.int32)
        return IntegerWeights(weight=weight, scale=scale, bias=bias)
