"""Channels padded to whole vectors, for kernels that fall back to slow ones otherwise. Exact.

ONNX Runtime's depthwise kernel for x86 takes channels by 16; with 72 of them it runs at half its speed.
A channel of zero weights and zero bias stays 0 through ReLU, h-swish and a gate, and the layer that reads
it multiplies it by 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hswish.quantize.places import is_layer, readers_of
from hswish.spec import graph as g


def pad_channels(graph: g.Graph, multiple: int = 16) -> g.Graph:
    """`graph` with the channels of depthwise convolutions padded to a multiple.

    A group of values that must have one number of channels is padded only where every reader of it is
    another of the group, or a layer that can ignore the new channels.
    """
    group = _groups(graph)
    members: dict[str, set[str]] = {}
    for name, root in group.items():
        members.setdefault(root, set()).add(name)
    readers = readers_of(graph)
    nodes = {node.name: node for node in graph.nodes}
    for names in members.values():
        channels = graph.shape(next(iter(names)))[1]
        extra = -channels % multiple
        if (
            not extra
            or not any(_is_depthwise(nodes.get(name)) for name in names)
            or not _may_grow(graph, names, readers)
        ):
            continue
        for name in names:
            nodes[name] = _grown(nodes[name], extra)
        for reader in {reader.name for name in names for reader in readers[name]}:
            if is_layer(nodes[reader]) and not _is_depthwise(nodes[reader]):
                nodes[reader] = _ignoring(nodes[reader], extra)
    return replace(graph, nodes=tuple(nodes[node.name] for node in graph.nodes))


def _groups(graph: g.Graph) -> dict[str, str]:
    """For each value the representative of those that share its channels one by one."""
    root = {name: name for name in (g.INPUT, *(node.name for node in graph.nodes))}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for node in graph.nodes:
        if _keeps_channels(node):
            for name in node.inputs[:1] if isinstance(node, g.Resize) else node.inputs:
                root[find(name)] = find(node.name)
    return {name: find(name) for name in root}


def _keeps_channels(node: g.Node) -> bool:
    """Whether channel i of the result comes of channel i of every input alone."""
    if isinstance(node, g.Convolution):
        return _is_depthwise(node)
    return isinstance(node, (g.Activation, g.GlobalPool, g.WindowPool, g.Add, g.Multiply, g.Resize, g.Flatten))


def _is_depthwise(node: g.Node | None) -> bool:
    return isinstance(node, g.Convolution) and node.depthwise


def _may_grow(graph: g.Graph, names: set[str], readers: dict[str, list[g.Node]]) -> bool:
    if g.INPUT in names or graph.output in names:
        return False
    outside = [(name, reader) for name in names for reader in readers[name] if reader.name not in names]
    return all(is_layer(reader) or _asks_for_size(reader, name) for name, reader in outside)


def _asks_for_size(reader: g.Node, name: str) -> bool:
    """Whether `reader` wants of the value `name` only how high and wide it is."""
    return isinstance(reader, g.Resize) and reader.inputs[0] != name


def _grown(node: g.Node, extra: int) -> g.Node:
    """With new channels of zeros at the end of what it gives."""
    shape = (node.shape[0], node.shape[1] + extra, *node.shape[2:])
    if not isinstance(node, (g.Convolution, g.Linear)):
        return replace(node, shape=shape)
    weight = np.pad(node.weight, ((0, extra), *[(0, 0)] * (node.weight.ndim - 1)))
    bias = np.pad(node.bias, (0, extra))
    if isinstance(node, g.Convolution) and node.groups > 1:
        return replace(node, shape=shape, weight=weight, bias=bias, groups=node.groups + extra)
    return replace(node, shape=shape, weight=weight, bias=bias)


def _ignoring(node: g.Node, extra: int) -> g.Node:
    """With weights of 0 for new channels at the end of what it reads."""
    assert isinstance(node, (g.Convolution, g.Linear))
    weight = np.pad(node.weight, ((0, 0), (0, extra), *[(0, 0)] * (node.weight.ndim - 2)))
    return replace(node, weight=weight)
