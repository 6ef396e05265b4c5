"""From an 8-bit network's file to the layers that the compiled part takes: integers and float32 factors.

The arithmetic is that of `hswish.spec.quantized`. What a kernel does with a layer is in `native/int8_layers.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.spec.graph import Add, Multiply, Node
from hswish.spec.quantized import QuantizedGraph, Range

Int8Layer = tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.float32], float, int, int]
"""weights, bias with the input's zero taken in, scale of the products; inverse scale, zero and lowest byte of the
result"""
FloatLayer = tuple[NDArray[np.float32], NDArray[np.float32]]
Mean = tuple[float, int, float, int]
"""scale and zero of the map, inverse scale and zero of its mean"""
Gating = tuple[int, float, float, int]
"""zero of the map, scale of map and gate, inverse scale and zero of the product"""
FLOATS = Range(scale=1.0, zero_point=0)
"""Stands for a result that stays in floats."""


@dataclass(frozen=True)
class Codes:
    """The weights of one layer in 8 bits, whatever its input turns out to be."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    """(out,)"""
    bias: NDArray[np.float32]
    """(out,)"""

    def columns(self, which: slice, with_bias: bool = True) -> Codes:
        """The layer that sees only some of the input channels."""
        bias = self.bias if with_bias else np.zeros_like(self.bias)
        return Codes(np.ascontiguousarray(self.weight[:, which]), self.scale, bias)

    def layer(self, x: Range, out: Range, act: str = "none") -> Int8Layer:
        """As the compiled part takes it, for an input and a result of these ranges."""
        product = (np.float64(x.scale) * self.scale).astype(np.float32)
        bias = np.rint(self.bias.astype(np.float64) / product)
        sums = self.weight.reshape(len(self.weight), -1).sum(1, dtype=np.int64)
        folded = bias - x.zero_point * sums
        if not (np.abs(folded) < 2**31).all():
            raise ValueError("a bias of an 8-bit layer does not fit 32 bits")
        low = out.zero_point if act == "relu" else 0
        return self.weight, folded.astype(np.int32), product, inverse(out), out.zero_point, low


class Network:
    """A `QuantizedGraph` looked up by the names of modules."""

    def __init__(self, net: QuantizedGraph) -> None:
        self.net = net
        self.nodes: dict[str, Node] = {node.name: node for node in net.graph.nodes}
        self.readers: dict[str, list[Node]] = {}
        for node in net.graph.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def codes(self, name: str) -> Codes:
        """The layer called `name` in 8 bits, laid out as `floats` does.

        Raises:
            ValueError: it is not held in 8 bits.
        """
        if name not in self.nodes or name not in self.net.scales:
            raise ValueError(f"its layer {name!r:.80} is not in 8 bits")
        node, held = self.net.layer(name), self.net.integers(name)
        return Codes(_laid_out(held.weight, name), held.scale.astype(np.float32), node.bias)

    def floats(self, name: str) -> FloatLayer:
        """The layer called `name` in float32; 1x1 kernels become matrices, depthwise ones (channels, k, k)."""
        if name not in self.nodes:
            raise ValueError(f"its layer {name!r:.80} is not there")
        node = self.net.layer(name)
        return _laid_out(node.weight, name), np.ascontiguousarray(node.bias)

    def has(self, name: str) -> bool:
        """Whether a value is held in bytes."""
        return name in self.net.values

    def in_bytes(self, *names: str) -> bool:
        """Whether all of these layers multiply bytes."""
        return all(name in self.nodes and self.net.computes_in_integers(name) for name in names)

    def range(self, name: str) -> Range:
        """Of the value called `name`.

        Raises:
            ValueError: it is not held in bytes.
        """
        if name not in self.net.values:
            raise ValueError(f"its value {name!r:.80} is not in bytes")
        return self.net.values[name]

    def after(self, name: str, kind: type[Node]) -> str:
        """The name of the sum or product that reads a value.

        Raises:
            ValueError: none does.
        """
        for node in self.readers.get(name, ()):
            if isinstance(node, kind):
                return node.name
        raise ValueError(f"no {kind.__name__} reads {name!r:.80}")

    def layer(self, name: str, x: Range, out: str | None, act: str = "none") -> Int8Layer:
        """The layer called `name`, to the value `out`, or to floats."""
        return self.codes(name).layer(x, FLOATS if out is None else self.range(out), act)

    def total(self, project: str) -> str:
        """The sum that ends a block with a residual."""
        return self.after(project, Add)

    def product(self, gate: str) -> str:
        """The map times its gate."""
        return self.after(gate, Multiply)

    def gating(self, gate: str, x: Range, product: str) -> tuple[tuple[float, int], Gating]:
        """How a gate becomes codes (inverse scale 0: it stays in floats), and how it multiplies a map."""
        out, held = self.range(product), self.net.values.get(gate)
        scale = np.float32(x.scale) * np.float32(1 if held is None else held.scale)
        codes = (0.0, 0) if held is None else (inverse(held), held.zero_point)
        return codes, (x.zero_point, float(scale), inverse(out), out.zero_point)

    def mean(self, x: Range, out: str) -> Mean:
        """How a map's mean becomes the value `out`; of no account where that is floats."""
        held = self.net.values.get(out, FLOATS)
        return float(x.scale), x.zero_point, inverse(held), held.zero_point


def inverse(held: Range) -> float:
    """1 / scale as float32, as `Range.quantise` has it."""
    return float(np.float32(1) / np.float32(held.scale))


def _laid_out(weight: NDArray[Any], name: str) -> NDArray[Any]:
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    elif weight.ndim == 4 and weight.shape[1] == 1 and name.endswith("depthwise.conv"):
        weight = weight[:, 0]
    return np.ascontiguousarray(weight)
