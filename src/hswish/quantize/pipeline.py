"""From a graph to a quantised graph: places -> ranges -> scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hswish.quantize.places import Scheme, places
from hswish.quantize.ranges import Histogram, histograms, least_error, value_ranges
from hswish.quantize.weights import weight_scales
from hswish.spec.graph import Convolution, Graph, Linear
from hswish.spec.quantized import QuantizedGraph, Range


def quantize(
    graph: Graph,
    batches: Sequence[NDArray[np.float32]],
    scheme: Scheme | None = None,
    choose: Callable[[Histogram], Range] = least_error,
) -> QuantizedGraph:
    """`graph` in 8 bits, with ranges from `batches` (N, C, H, W) of preprocessed pictures."""
    scheme = scheme or Scheme()
    found = places(graph, scheme)
    ranges = value_ranges(graph, found.values, histograms(graph, found.values, batches), choose)
    return with_scales(graph, ranges, found.layers, scheme)


def with_scales(graph: Graph, values: Mapping[str, Range], layers: frozenset[str], scheme: Scheme) -> QuantizedGraph:
    """`graph` with the scales of the weights of `layers`."""
    scales = {}
    for node in graph.nodes:
        if node.name in layers and isinstance(node, (Convolution, Linear)):
            held = values.get(node.inputs[0])
            scales[node.name] = weight_scales(
                node.weight, scheme.weight_bits, node.bias, None if held is None else held.scale
            )
    return QuantizedGraph(graph=graph, values=values, scales=scales, weight_bits=scheme.weight_bits)
