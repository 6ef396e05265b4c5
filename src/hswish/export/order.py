"""A 1x1 convolution goes before the resize that it follows, where it leaves fewer channels to resize.

What bilinear resizing makes is a weighted mean of pixels, and the weights sum to 1. So a linear map of the
channels, its bias included, gives the same before it as after it, and is computed for fewer pixels.
"""

from __future__ import annotations

from dataclasses import replace

from hswish.spec.graph import Activation, Convolution, Graph, Node, Resize


def narrow_first(graph: Graph) -> Graph:
    """`graph` with each such pair the other way round."""
    for name in [node.name for node in graph.nodes if isinstance(node, Resize)]:
        resize = graph[name]  # each exchange makes the other nodes anew
        assert isinstance(resize, Resize)
        conv = _narrowing(graph, resize)
        if conv is not None:
            graph = _exchanged(graph, resize, conv)
    return graph


def _narrowing(graph: Graph, resize: Resize) -> Convolution | None:
    """The convolution that is to go before `resize`."""
    readers = [node for node in graph.nodes if resize.name in node.inputs]
    if resize.name == graph.output or len(readers) != 1:
        return None
    (conv,) = readers
    if not isinstance(conv, Convolution) or conv.weight.shape[2:] != (1, 1) or conv.stride != 1 or conv.groups != 1:
        return None
    # An activation is computed with its convolution, and does not commute.
    active = any(isinstance(node, Activation) and conv.name in node.inputs for node in graph.nodes)
    return conv if conv.weight.shape[0] < conv.weight.shape[1] and not any(conv.padding) and not active else None


def _exchanged(graph: Graph, resize: Resize, conv: Convolution) -> Graph:
    source, like = resize.inputs
    shape = (1, conv.shape[1], *graph.shape(source)[2:])
    first = replace(conv, inputs=(source,), shape=shape)
    then = replace(resize, inputs=(conv.name, like), shape=conv.shape)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node is resize:
            nodes.append(first)
        elif node is conv:
            nodes.append(then)
        else:
            renamed = tuple(resize.name if name == conv.name else name for name in node.inputs)
            nodes.append(replace(node, inputs=renamed))
    output = resize.name if graph.output == conv.name else graph.output
    return replace(graph, nodes=tuple(nodes), output=output)
