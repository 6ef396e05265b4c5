"""A quantised graph as XNNPACK's partitioner in ExecuTorch looks for it: bytes between, float32 operations on them.

Each operation reads its inputs through conversions of its own: one that two operations share would tie
parts of the graph into a cycle, which the partitioner refuses.
"""

from __future__ import annotations

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor
from torch.nn.functional import pad

from hswish.export.executorch_network import ExecuTorchNetwork
from hswish.spec import graph as g
from hswish.spec.quantized import QuantizedGraph, Range

_SIGNED = 128
"""XNNPACK's bytes are signed: q - 128"""
_AS_GOOD_AS_ZERO = 1e-30
_BYTES = (-128, 127, torch.int8)


class QuantizedNetwork(ExecuTorchNetwork):
    """Runs a `QuantizedGraph` on the operators `quantized_decomposed`."""

    def __init__(self, net: QuantizedGraph) -> None:
        super().__init__(net.graph)
        self.net = net
        for node in net.graph.nodes:
            if not isinstance(node, (g.Convolution, g.Linear)):
                continue
            index = self.index[node.name]
            if node.name in net.scales:
                codes = net.integers(node.name)
                self.register_buffer(f"codes_{index}", torch.from_numpy(codes.weight))
                self.register_buffer(f"spread_{index}", torch.from_numpy(codes.scale))
                self.register_buffer(f"zeros_{index}", torch.zeros(len(codes.scale), dtype=torch.int64))
                delattr(self, f"weight_{index}")

    def forward(self, x: Tensor) -> Tensor:
        """See `GraphNetwork.forward`."""
        values = {g.INPUT: self._as_held(g.INPUT, x)}
        for node in self.graph.nodes:
            made = self.run(node, [self._read(values, name) for name in node.inputs])
            values[node.name] = self._as_held(node.name, made)
        return self._read(values, self.graph.output)

    def weights(self, node: g.Node) -> tuple[Tensor, Tensor]:
        """Weights in 8 bits through a conversion, which XNNPACK takes with the layer."""
        (bias,) = self.held(node, "bias")
        if node.name not in self.net.scales:
            return self.held(node, "weight")[0], bias
        index, top = self.index[node.name], self.net.top
        codes, spread, zeros = (self.get_buffer(f"{name}_{index}") for name in ("codes", "spread", "zeros"))
        dequantise = torch.ops.quantized_decomposed.dequantize_per_channel
        return dequantise(codes, spread, zeros, 0, -top, top, torch.int8), bias

    def padded(self, node: g.Convolution, x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        """See `GraphNetwork.padded`.

        ExecuTorch rounds what pads a conversion with zeros to the same bytes: right for a layer on bytes, but one
        in float32 is then refused. It leaves alone what pads with another number, of which this is too small to count.
        """
        return pad(x, sides, value=0.0 if node.name in self.net.scales else _AS_GOOD_AS_ZERO)

    def _as_held(self, name: str, value: Tensor) -> Tensor:
        return _to_bytes(value, self.net.values[name]) if name in self.net.values else value

    def _read(self, values: dict[str, Tensor], name: str) -> Tensor:
        return _to_real(values[name], self.net.values[name]) if name in self.net.values else values[name]


def _to_bytes(value: Tensor, held: Range) -> Tensor:
    quantise = torch.ops.quantized_decomposed.quantize_per_tensor
    return quantise(value, held.scale, held.zero_point - _SIGNED, *_BYTES)


def _to_real(codes: Tensor, held: Range) -> Tensor:
    dequantise = torch.ops.quantized_decomposed.dequantize_per_tensor
    return dequantise(codes, held.scale, held.zero_point - _SIGNED, *_BYTES)
