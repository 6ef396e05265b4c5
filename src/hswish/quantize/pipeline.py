"""From a graph to a quantised graph, pass by pass.

repair -> equalise -> places -> ranges -> scales -> bias correction
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hswish.quantize.bias import correct_bias
from hswish.quantize.equalise import equalise
from hswish.quantize.importance import importance
from hswish.quantize.places import Scheme, places
from hswish.quantize.ranges import Histogram, histograms, least_error, minmax, tied, value_ranges
from hswish.quantize.repair import channel_reach, repair
from hswish.quantize.weights import largest_scales, weight_scales
from hswish.spec.graph import INPUT, Convolution, Graph, Linear
from hswish.spec.quantized import QuantizedGraph, Range


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Which passes are run; all by default."""

    repair: bool = True
    equalise: bool = True
    fit_ranges: bool = True
    """ranges of least error, not of the extremes"""
    weigh_channels: bool = True
    """least error of the answer, not of the value"""
    fit_weights: bool = True
    """weight scales of least error, not of the largest weight"""
    correct_bias: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A graph on which the passes that do not depend on a scheme have been run, and what calibration saw of it."""

    graph: Graph
    seen: Mapping[str, Histogram]
    """of every value"""
    batches: Sequence[NDArray[np.float32]]
    passes: Passes


def prepare(graph: Graph, batches: Sequence[NDArray[np.float32]], passes: Passes | None = None) -> Prepared:
    """Repair and equalise `graph`, and look at `batches` (N, C, H, W) of preprocessed pictures."""
    passes = passes or Passes()
    if passes.repair:
        graph = repair(graph, batches)
    if passes.equalise:
        graph = equalise(graph, channel_reach(graph, batches))
    names = [INPUT, *(node.name for node in graph.nodes)]
    seen = histograms(graph, names, batches, importance(graph) if passes.weigh_channels else None)
    return Prepared(graph=graph, seen=seen, batches=batches, passes=passes)


def round_all(prepared: Prepared, scheme: Scheme) -> QuantizedGraph:
    """What `scheme` rounds, with ranges, scales and corrected biases."""
    graph, passes = prepared.graph, prepared.passes
    found = places(graph, scheme)
    values = value_ranges(graph, found.values, prepared.seen, least_error if passes.fit_ranges else minmax)
    if scheme.one_range:
        values = tied(graph, values)
    net = with_scales(graph, values, found.layers, scheme, fitted=passes.fit_weights)
    return correct_bias(net, graph, prepared.batches) if passes.correct_bias else net


def quantize(
    graph: Graph,
    batches: Sequence[NDArray[np.float32]],
    scheme: Scheme | None = None,
    passes: Passes | None = None,
) -> QuantizedGraph:
    """`graph` in 8 bits, calibrated on `batches` (N, C, H, W) of preprocessed pictures."""
    return round_all(prepare(graph, batches, passes), scheme or Scheme())


def with_scales(
    graph: Graph, values: Mapping[str, Range], layers: frozenset[str], scheme: Scheme, *, fitted: bool = True
) -> QuantizedGraph:
    """`graph` with the scales of the weights of `layers`."""
    scales = {}
    for node in graph.nodes:
        if node.name in layers and isinstance(node, (Convolution, Linear)):
            held = values.get(node.inputs[0])
            found = weight_scales if fitted else largest_scales
            scales[node.name] = found(node.weight, scheme.weight_bits, node.bias, None if held is None else held.scale)
    return QuantizedGraph(graph=graph, values=values, scales=scales, weight_bits=scheme.weight_bits)


def weights_only(graph: Graph) -> QuantizedGraph:
    """`graph` with 8-bit weights that compute in float32: no calibration, and hardly any loss."""
    layers = frozenset(node.name for node in graph.nodes if isinstance(node, (Convolution, Linear)))
    return with_scales(graph, {}, layers, Scheme())
