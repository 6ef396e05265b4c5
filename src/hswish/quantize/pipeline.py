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
from hswish.quantize.places import Scheme, places
from hswish.quantize.ranges import histograms, least_error, minmax, value_ranges
from hswish.quantize.repair import channel_reach, repair
from hswish.quantize.weights import largest_scales, weight_scales
from hswish.spec.graph import Convolution, Graph, Linear
from hswish.spec.quantized import QuantizedGraph, Range


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Which passes are run; all by default."""

    repair: bool = True
    equalise: bool = True
    fit_ranges: bool = True
    """ranges of least error, not of the extremes"""
    fit_weights: bool = True
    """weight scales of least error, not of the largest weight"""
    correct_bias: bool = True


def quantize(
    graph: Graph,
    batches: Sequence[NDArray[np.float32]],
    scheme: Scheme | None = None,
    passes: Passes | None = None,
) -> QuantizedGraph:
    """`graph` in 8 bits, calibrated on `batches` (N, C, H, W) of preprocessed pictures."""
    scheme, passes = scheme or Scheme(), passes or Passes()
    if passes.repair:
        graph = repair(graph, batches)
    if passes.equalise:
        graph = equalise(graph, channel_reach(graph, batches))
    found = places(graph, scheme)
    choose = least_error if passes.fit_ranges else minmax
    values = value_ranges(graph, found.values, histograms(graph, found.values, batches), choose)
    net = with_scales(graph, values, found.layers, scheme, fitted=passes.fit_weights)
    return correct_bias(net, graph, batches) if passes.correct_bias else net


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
