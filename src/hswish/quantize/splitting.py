"""h-swish on bytes as two operations that every integer runtime has whole, the second of them a product.

No runtime's h-swish on bytes is fast: ONNX Runtime goes through float32, LiteRT leaves XNNPACK. But

    6 h-swish(x) = x * clip(x + 3, 0, 6)

and there are two ways to write the clip:

- The bytes of x begin at -3, and 3 is a whole number of their steps (`ranges.from_minus_three`). Read with
  the zero point 0 they are those of x + 3, and the smaller of a byte and `six` is one of clip(x + 3, 0, 6).
  That rounds nothing. It asks for a runtime that lets one value have two zero points, as ONNX Runtime does.
- Bytes with the range [0, 6] end exactly where the clip does. So the sum of x and 3 is rounded to it.

The factor 6 stays in the value: its scale is six times as large, and the layers that
read it have weights of a sixth. Codes stay as they are. Pooling, gates and resizes hand the factor on.
"""

from __future__ import annotations

from hswish.quantize.places import is_layer
from hswish.spec import graph as g
from hswish.spec.quantized import LEVELS, QuantizedGraph, Range

FACTOR = 6.0
CLIPPED = Range.over(0.0, 6.0)
"""Of clip(x + 3, 0, 6)."""


def six(held: Range) -> int | None:
    """The byte of x + 3 = 6, where x is held so; None where no byte is greater.

    Of a range that begins at -3.
    """
    return 2 * held.zero_point if 2 * held.zero_point < LEVELS else None


def factors(net: QuantizedGraph) -> dict[str, float]:
    """By how much each value is larger when h-swish is written so; values that are as they were are left out.

    An h-swish is split where it reads bytes that begin at -3 and gives bytes, and nothing adds its result to another.
    """
    graph = net.graph
    split = {
        node.name
        for node in graph.nodes
        if isinstance(node, g.Activation) and node.kind == "hard_swish"
        if node.name in net.values and node.inputs[0] in net.values and abs(net.values[node.inputs[0]].low + 3) < 1e-5
    }
    while True:
        found, clash = _spread(graph, split)
        if clash is None:
            return found
        split -= clash


def _spread(graph: g.Graph, split: set[str]) -> tuple[dict[str, float], set[str] | None]:
    """The factors of all values, or the activations that may not be split."""
    factor: dict[str, float] = {}
    origin: dict[str, set[str]] = {}
    for node in graph.nodes:
        reads = [factor.get(name, 1.0) for name in node.inputs]
        came = set().union(*(origin.get(name, set()) for name in node.inputs))
        if node.name in split:
            factor[node.name], origin[node.name] = FACTOR, {node.name}
        elif is_layer(node) or not came:
            continue
        elif isinstance(node, (g.GlobalPool, g.WindowPool, g.Flatten, g.Resize)):
            factor[node.name], origin[node.name] = reads[0], origin.get(node.inputs[0], set())
        elif isinstance(node, g.Multiply):
            factor[node.name], origin[node.name] = reads[0] * reads[1], came
        else:
            return {}, came
        if node.name == graph.output:
            return {}, origin[node.name]
    return {name: value for name, value in factor.items() if value != 1.0}, None
