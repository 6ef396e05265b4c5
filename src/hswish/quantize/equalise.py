"""Cross-layer equalisation, where it is exact: channels of one value that reach equally far.

One scale serves all channels of a value, so a channel that is a hundredth of the greatest keeps two or
three of 256 steps. Between a layer that writes a channel and those that read it, the channel can be made
larger by any factor and their weights smaller by the same. That is exact wherever only ReLU, sums, pooling,
resizes and gates stand between (all of them let a positive factor pass), and wrong across an h-swish.
So it serves the ReLU half of MobileNetV3, through squeeze-and-excitation, and the residual stream, whose
writers and readers share the factors of a channel.

After Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019); the
balance between activations and the columns of the next weights is that of Xiao et al., "SmoothQuant" (2023).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hswish.quantize.places import is_layer
from hswish.spec import graph as g

_LEAST = 1 / 16
"""Smallest factor: a channel that hardly ever fires is not blown up to full size."""


def equalise(graph: g.Graph, reaches: Mapping[str, NDArray[np.float64]]) -> g.Graph:
    """`graph`, computing the same, with channels balanced.

    Args:
        reaches: (C,) greatest magnitude of each channel of each value that a layer reads (`channel_reach`).
    """
    nodes: dict[str, g.Node] = {node.name: node for node in graph.nodes}
    for values in _streams(graph):
        readers = [node.name for node in graph.nodes if is_layer(node) and node.inputs[0] in values]
        writers = [name for name in values if is_layer(graph[name])]
        seen = [reaches[name] for name in values if name in reaches]
        if not readers or not writers or not seen:
            continue
        factor = _factors(seen, [nodes[name] for name in readers])
        for name in writers:
            nodes[name] = _rows(nodes[name], (1 / factor).astype(np.float32))
        for name in readers:
            nodes[name] = _columns(nodes[name], factor)
    return replace(graph, nodes=tuple(nodes[node.name] for node in graph.nodes))


def _streams(graph: g.Graph) -> list[set[str]]:
    """Sets of values that must share the factors of their channels, where any factor is exact."""
    parent = {name: name for name in (g.INPUT, *(node.name for node in graph.nodes))}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    barred = {g.INPUT, graph.output}
    for node in graph.nodes:
        match node:
            case g.Convolution() | g.Linear():
                continue
            case g.Multiply():
                gate = _gate_of(graph, node)
                parent[root(node.inputs[1 - gate])] = root(node.name)
                barred.add(node.inputs[gate])
            case g.Add() | g.GlobalPool() | g.WindowPool() | g.Flatten() | g.Resize():
                for name in node.inputs[:1] if isinstance(node, g.Resize) else node.inputs:
                    parent[root(name)] = root(node.name)
            case g.Activation(kind="relu"):
                parent[root(node.inputs[0])] = root(node.name)
            case _:
                barred.update((node.name, *node.inputs))
    groups: dict[str, set[str]] = defaultdict(set)
    for name in parent:
        groups[root(name)].add(name)
    barred_roots = {root(name) for name in barred}
    return [values for name, values in groups.items() if name not in barred_roots]


def _gate_of(graph: g.Graph, node: g.Multiply) -> int:
    """Which operand of a product is the gate: the one that comes from a sigmoid, possibly resized."""
    for index, name in enumerate(node.inputs):
        made = graph[name]
        while isinstance(made, g.Resize):
            made = graph[made.inputs[0]]
        if isinstance(made, g.Activation) and made.kind in ("hard_sigmoid", "sigmoid"):
            return index
    return 1


def _factors(seen: list[NDArray[np.float64]], readers: list[g.Node]) -> NDArray[np.float32]:
    """(C,) by how much smaller each channel is to become, of which the greatest is 1."""
    reach = np.max([values / max(values.max(), 1e-30) for values in seen], 0)
    load = np.zeros(len(reach))  # how much of its row's step a channel's column takes
    for node in readers:
        assert isinstance(node, (g.Convolution, g.Linear))
        if isinstance(node, g.Convolution) and node.groups > 1:
            continue  # a depthwise row is one column: its own scale follows
        rows = np.abs(node.weight.reshape(*node.weight.shape[:2], -1)).max(2)
        load = np.maximum(load, (rows / np.maximum(rows.max(1, keepdims=True), 1e-30)).max(0))
    factor = np.sqrt(reach / np.maximum(load, _LEAST)) if load.any() else reach
    factor = np.clip(factor / max(factor.max(), 1e-30), _LEAST, 1)
    return factor.astype(np.float32)


def _rows(node: g.Node, factor: NDArray[np.float32]) -> g.Node:
    """With each output channel times its factor."""
    assert isinstance(node, (g.Convolution, g.Linear))
    spread = factor.reshape(-1, *[1] * (node.weight.ndim - 1))
    return replace(node, weight=node.weight * spread, bias=node.bias * factor)


def _columns(node: g.Node, factor: NDArray[np.float32]) -> g.Node:
    """With what it reads of each input channel times its factor."""
    assert isinstance(node, (g.Convolution, g.Linear))
    if isinstance(node, g.Convolution) and node.groups > 1:
        each = np.repeat(factor, len(node.weight) // len(factor))
        return replace(node, weight=node.weight * each.reshape(-1, 1, 1, 1))
    return replace(node, weight=node.weight * factor.reshape(1, -1, *[1] * (node.weight.ndim - 2)))
