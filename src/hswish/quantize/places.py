"""Where a runtime rounds: which values are held in bytes, and which layers in 8-bit weights.

Runtimes differ in what they compute before they round. OpenVINO's and our own integer kernels finish a
convolution, its activation and the sum of a residual in one step; ONNX Runtime and LiteRT write bytes
between them. A `Scheme` says so, and everything else follows from the graph.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from hswish.spec import graph as g

Squeeze = Literal["float", "int8"]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """What a runtime's integer kernels do, and what is to stay in float32."""

    fused: frozenset[g.ActivationKind] = frozenset(("relu", "hard_swish", "hard_sigmoid", "sigmoid"))
    """activations that are computed with the layer before them: the value between is not rounded"""
    fused_add: bool = True
    """the same of a sum: a layer's result that only the sum reads is not rounded before it"""
    float_results: bool = True
    """an integer layer may give float32, as the last one does; otherwise such a layer stays in float32"""
    rounds_scores: bool = False
    """maps of class scores are rounded too, before they are enlarged; the answer never is"""
    float_first: bool = False
    """the first layers stay in float32, up to the one that widens: integer kernels gain nothing on so few channels"""
    float_gated: bool = False
    """where a gate multiplies the map of a depthwise convolution, that, its pooling and the product stay in float32"""
    one_range: bool = False
    """a concatenation only copies bytes: what it reads and makes has one range"""
    squeeze: Squeeze = "float"
    """the branches from a pooled map to a gate (squeeze-and-excitation, LR-ASPP's attention)"""
    weights_alone: bool = True
    """layers that compute in float32 for the runtime's sake (squeeze branches, the last ones) hold their weights in
    8 bits all the same; those in `kept` and the first do not"""
    weight_bits: Literal[7, 8] = 8
    """7 where the runtime adds two products of bytes in 16 bits: 2 * 255 * 63 fits, 2 * 255 * 127 does not"""
    kept: frozenset[str] = frozenset()
    """names of the layers that stay in float32, their activations included"""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Names of what is rounded."""

    values: frozenset[str]
    """held in bytes"""
    layers: frozenset[str]
    """hold their weights in 8 bits"""


def places(graph: g.Graph, scheme: Scheme) -> Places:
    """The values and layers of `graph` that `scheme` rounds.

    A value is held in bytes where something that computes on bytes reads it; the answer never is.
    """
    readers = readers_of(graph)
    layers = set(scheme.kept)
    layers |= first_nodes(graph) if scheme.float_first else set()
    layers |= gated(graph) if scheme.float_gated else set()
    kept = layers | {act.name for name in layers for act in readers[name] if isinstance(act, g.Activation)}
    branches = squeezes(graph) if scheme.squeeze == "float" else frozenset()
    end = _step_ends(graph, scheme, readers)
    full = kept | branches | {node.name for node in graph.nodes if isinstance(node, (g.FromPixels, g.Grey, g.ArgMax))}
    last = last_layers(graph, readers)
    scores = {name for name in last if end[name] != graph.output} if scheme.rounds_scores else set()
    if not scheme.float_results:
        full |= last - scores
    integer = {node.name for node in graph.nodes if is_layer(node)} - full
    forced = {end[name] for name in (scores & integer if scheme.float_results else integer)}
    takes: dict[str, bool] = {}  # whether a node computes on bytes
    values: set[str] = set()
    for node in reversed(graph.nodes):
        name = node.name
        wanted = any(takes[reader.name] for reader in readers[name]) or name in forced
        if wanted and end[name] == name and name not in branches and name != graph.output:
            values.add(name)
        takes[name] = name in integer or (name not in full and end[name] in values)
    if any(takes[reader.name] for reader in readers[g.INPUT]):
        values.add(g.INPUT)
    alone = {node.name for node in graph.nodes if is_layer(node)} - kept if scheme.weights_alone else set()
    return Places(values=frozenset(values), layers=frozenset(integer | alone))


def first_nodes(graph: g.Graph) -> frozenset[str]:
    """Names of the nodes before the first layer that gives more channels than the one that reads the picture.

    Of a network that never widens, of the nodes up to that one.
    """
    first, *others = (node for node in graph.nodes if isinstance(node, (g.Convolution, g.Linear)))
    wider = (node for node in others if len(node.weight) > len(first.weight))
    end = next(wider, others[0] if others else None)
    return frozenset(node.name for node in takewhile(lambda node: node is not end, graph.nodes))


def last_layers(graph: g.Graph, readers: dict[str, list[g.Node]]) -> frozenset[str]:
    """Names of the layers that no other layer comes after."""
    leads_on: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        leads_on[node.name] = any(is_layer(reader) or leads_on[reader.name] for reader in readers[node.name])
    return frozenset(node.name for node in graph.nodes if is_layer(node) and not leads_on[node.name])


def squeezes(graph: g.Graph) -> frozenset[str]:
    """Names of the nodes between a map and its gate: pooling, its layers, the sigmoid, a resize of the gate."""
    found: set[str] = set()
    for product in (node for node in graph.nodes if isinstance(node, g.Multiply)):
        for gate in product.inputs:
            trail = [gate]
            while trail[-1] != g.INPUT and not isinstance(graph[trail[-1]], (g.GlobalPool, g.WindowPool)):
                trail.append(graph[trail[-1]].inputs[0])
            if trail[-1] != g.INPUT and not any(isinstance(graph[name], g.Multiply) for name in trail):
                found.update(trail)
    return frozenset(found)


def gated(graph: g.Graph) -> frozenset[str]:
    """Names of the depthwise convolutions whose map a gate multiplies, of what pools it, and of the products."""
    readers, branches = readers_of(graph), squeezes(graph)
    found: set[str] = set()
    for product in (node for node in graph.nodes if isinstance(node, g.Multiply)):
        maps = [name for name in product.inputs if name not in branches and name != g.INPUT]
        made = [graph[name] for name in maps]
        made = [graph[node.inputs[0]] if isinstance(node, g.Activation) else node for node in made]
        if len(made) == 1 and isinstance(made[0], g.Convolution) and made[0].depthwise:
            found |= {made[0].name, product.name, *(node.name for node in readers[maps[0]] if node.name in branches)}
    return frozenset(found)


def readers_of(graph: g.Graph) -> dict[str, list[g.Node]]:
    """The nodes that read each value."""
    readers: dict[str, list[g.Node]] = defaultdict(list)
    for node in graph.nodes:
        for name in node.inputs:
            readers[name].append(node)
    return readers


def is_layer(node: g.Node) -> bool:
    """Whether a node multiplies by weights."""
    return isinstance(node, (g.Convolution, g.Linear))


def _step_ends(graph: g.Graph, scheme: Scheme, readers: dict[str, list[g.Node]]) -> dict[str, str]:
    """For each node the name of the value that the step it belongs to ends in."""
    end = {node.name: node.name for node in graph.nodes}
    taken: set[str] = set()  # sums that have a layer computed with them
    for node in reversed(graph.nodes):
        if len(readers[node.name]) != 1 or not isinstance(node, (g.Convolution, g.Linear, g.Add)):
            continue
        (reader,) = readers[node.name]
        if isinstance(reader, g.Activation) and reader.kind in scheme.fused:
            end[node.name] = end[reader.name]
        elif is_layer(node) and isinstance(reader, g.Add) and scheme.fused_add and reader.name not in taken:
            taken.add(reader.name)
            end[node.name] = end[reader.name]
    return end
