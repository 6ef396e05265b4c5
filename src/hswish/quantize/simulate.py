"""A quantised graph in torch: every value and weight is rounded to what its code stands for, and computed in float32.

It answers as the integer arithmetic does, up to the order of float32 sums (`hswish.quantize.reference`
is exact), at the speed of a float network: what the passes and their judges run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hswish.quantize.network import GraphNetwork
from hswish.spec import graph as g
from hswish.spec.artifact import Description
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import Interface
from hswish.spec.quantized import LEVELS, QuantizedGraph, Range


class SimulatedNetwork(GraphNetwork):
    """Runs a `QuantizedGraph`."""

    def __init__(self, net: QuantizedGraph) -> None:
        super().__init__(net.graph)
        self.net = net
        for name in net.scales:
            for held, values in zip(self.held(net.graph[name], "weight", "bias"), rounded(net, name), strict=True):
                held.data = torch.from_numpy(values)

    def between(self, name: str, value: Tensor) -> Tensor:
        """Rounded, where the value is held in bytes."""
        held = self.net.values.get(name)
        return value if held is None else round_to(value, held)


def round_to(value: Tensor, held: Range) -> Tensor:
    """The numbers that a value's codes stand for."""
    codes = torch.round(value * float(np.float32(1 / np.float32(held.scale)))) + held.zero_point
    return (codes.clamp_(0, LEVELS) - held.zero_point) * held.scale


def rounded(net: QuantizedGraph, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias that the codes of a layer stand for."""
    codes = net.integers(name)
    weight = codes.weight * codes.scale.reshape(-1, *[1] * (codes.weight.ndim - 1))
    if codes.bias is None:
        return weight.astype(np.float32), net.layer(name).bias
    bias = codes.bias * net.product_scale(name).astype(np.float64)
    return weight.astype(np.float32), bias.astype(np.float32)


def run(network: GraphNetwork, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The network's answers, batch by batch."""
    network.eval()
    with torch.inference_mode():
        for batch in batches:
            yield network(as_tensor(batch)).numpy()


def as_tensor(batch: NDArray[np.float32]) -> Tensor:
    """A batch as torch computes quickest on it."""
    tensor = torch.from_numpy(np.ascontiguousarray(batch))
    return tensor if batch.dtype == np.uint8 else tensor.contiguous(memory_format=torch.channels_last)


class SimulatedEngine:
    """A graph, quantised or not, as an engine, so that `hswish.evaluate` measures it."""

    suffixes: tuple[str, ...] = ()

    def __init__(self, network: GraphNetwork, description: Description) -> None:
        self.network, self.description = network.eval(), description
        self.interface = Interface(size=(description.preprocess.height, description.preprocess.width))

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> SimulatedEngine:
        """There is no file: it is made of a network in memory."""
        raise ModelFileError(f"{path}: a simulated network has no file")

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a normalised batch."""
        with torch.inference_mode():
            return self.network(as_tensor(batch)).numpy()


class Watcher(GraphNetwork):
    """Runs a graph in float32 and hands chosen values to a function."""

    def __init__(self, graph: g.Graph, wanted: frozenset[str]) -> None:
        super().__init__(graph)
        self.wanted = wanted
        self.seen: dict[str, Tensor] = {}

    def between(self, name: str, value: Tensor) -> Tensor:
        """Kept where it is wanted."""
        if name in self.wanted:
            self.seen[name] = value
        return value

    def watch(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[dict[str, Tensor]]:
        """The wanted values of each batch by name."""
        with torch.inference_mode():
            for batch in batches:
                self.seen = {}
                self(as_tensor(batch))
                yield self.seen
