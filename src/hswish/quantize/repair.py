"""Repair of dead channels: those that calibration has never seen alive.

Folding batch norm may leave channels that are always 0, or as good as that: a ReLU that nothing passes, a
variance of nearly nothing. The weights that read them do nothing, yet the largest of a row decides the
step of all its others. They are set to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hswish.quantize.places import is_layer
from hswish.quantize.simulate import Watcher
from hswish.spec import graph as g

_DEAD = 1e-4
"""Largest part of a value's greatest number that a dead channel may reach."""


def repair(graph: g.Graph, batches: Sequence[NDArray[np.float32]]) -> g.Graph:
    """`graph` with weights of 0 for channels that are never alive on `batches`."""
    reaches = channel_reach(graph, batches)
    return replace(graph, nodes=tuple(_repaired(node, reaches) for node in graph.nodes))


def channel_reach(graph: g.Graph, batches: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """(C,) greatest magnitude of each channel of each value that a layer reads."""
    wanted = frozenset(node.inputs[0] for node in graph.nodes if is_layer(node))
    found: dict[str, NDArray[np.float64]] = {}
    for seen in Watcher(graph, wanted).watch(batches):
        for name, value in seen.items():
            axes = [axis for axis in range(value.ndim) if axis != 1]
            reach = torch.amax(value.abs(), axes).double().numpy()
            found[name] = np.maximum(found[name], reach) if name in found else reach
    return found


def _repaired(node: g.Node, reaches: dict[str, NDArray[np.float64]]) -> g.Node:
    if not isinstance(node, (g.Convolution, g.Linear)):
        return node
    reach = reaches[node.inputs[0]]
    dead = reach <= _DEAD * reach.max()
    if not dead.any():
        return node
    weight = node.weight.copy()
    if isinstance(node, g.Convolution) and node.groups > 1:
        weight[np.repeat(dead, len(weight) // len(dead))] = 0
    else:
        weight[:, dead] = 0
    return replace(node, weight=weight)
