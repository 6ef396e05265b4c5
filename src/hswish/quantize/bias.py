"""Sequential bias correction: the mean that rounding shifts each channel by is taken out of its bias.

Layer by layer, on the same pictures: the layer in float32 reads float32 values, the rounded one reads what
the rounded layers before it (already corrected) make. The difference of their means, channel by channel,
goes into the bias. Correcting all layers at once, from float32 inputs, does much less: each layer then
ignores what those before it do to its input. After Nagel et al. (2019), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hswish.quantize.network import GraphNetwork
from hswish.quantize.places import is_layer
from hswish.quantize.simulate import SimulatedNetwork, as_tensor
from hswish.spec import graph as g
from hswish.spec.quantized import QuantizedGraph


def correct_bias(net: QuantizedGraph, exact: g.Graph, batches: Sequence[NDArray[np.float32]]) -> QuantizedGraph:
    """`net` with corrected biases.

    Args:
        exact: the same operations in float32, whose means are right.
        batches: preprocessed pictures; both networks walk over all of them, operation by operation.
    """
    plain, rounded = GraphNetwork(exact), SimulatedNetwork(net)
    given = [as_tensor(batch) for batch in batches]
    right: dict[str, list[Tensor]] = {g.INPUT: given}
    ours: dict[str, list[Tensor]] = {g.INPUT: [rounded.between(g.INPUT, batch) for batch in given]}
    last_use = {name: node.name for node in net.graph.nodes for name in node.inputs}
    biases: dict[str, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for node in net.graph.nodes:
            name = node.name
            right[name] = [
                plain.run(node, list(values)) for values in zip(*(right[i] for i in node.inputs), strict=True)
            ]
            made = [rounded.run(node, list(values)) for values in zip(*(ours[i] for i in node.inputs), strict=True)]
            if is_layer(node):
                biases[name] = net.layer(name).bias + _mean_difference(right[name], made)
                shift = torch.from_numpy(_as_held(net, name, biases[name]) - _as_held(net, name, net.layer(name).bias))
                made = [value + shift.reshape(1, -1, *[1] * (value.ndim - 2)) for value in made]
            ours[name] = [rounded.between(name, value) for value in made]
            for spent in [value for value, user in last_use.items() if user == name]:
                del right[spent], ours[spent]
    nodes = tuple(_with_bias(node, biases.get(node.name)) for node in net.graph.nodes)
    return replace(net, graph=replace(net.graph, nodes=nodes))


def _as_held(net: QuantizedGraph, name: str, bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """A bias as the layer adds it: a whole number of its products' units, where it computes in integers."""
    if not net.computes_in_integers(name):
        return bias
    unit = net.product_scale(name).astype(np.float64)
    return (np.rint(bias.astype(np.float64) / unit) * unit).astype(np.float32)


def _mean_difference(right: list[Tensor], made: list[Tensor]) -> NDArray[np.float32]:
    """(C,) of two values over all pictures and pixels."""
    total, count = torch.zeros(right[0].shape[1], dtype=torch.float64), 0
    for one, other in zip(right, made, strict=True):
        axes = [axis for axis in range(one.ndim) if axis != 1]
        total += (one - other).double().sum(axes)
        count += one.numel() // one.shape[1]
    return (total / count).float().numpy()


def _with_bias(node: g.Node, bias: NDArray[np.float32] | None) -> g.Node:
    if bias is None:
        return node
    assert isinstance(node, (g.Convolution, g.Linear))
    return replace(node, bias=bias)
