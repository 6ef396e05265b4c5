"""Which layers a scheme leaves in float32."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hswish.quantize import Scheme
from hswish.quantize.places import first_nodes, gated, places
from hswish.spec import graph as g
from tests.quantize.conftest import graph_of

BACKBONES = ["mobilenet_v3_small", "mobilenet_v3_large", "lraspp_mobilenet_v3_small"]


def layers(graph: g.Graph) -> list[str]:
    return [node.name for node in graph.nodes if isinstance(node, (g.Convolution, g.Linear))]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_first_nodes_are_the_stem_and_the_first_block(name: str) -> None:
    graph = graph_of(name)
    found = first_nodes(graph)
    assert {name for name in layers(graph) if name.startswith(("backbone.stem.", "backbone.blocks.0."))} == {
        name for name in layers(graph) if name in found
    }


def test_of_a_network_that_never_widens_only_the_first_layer_comes_first() -> None:
    graph = graph_of("mobilenet_v3_small")
    short = g.Graph(nodes=graph.nodes[:3], input_shape=graph.input_shape, output=graph.nodes[2].name)
    assert layers(short) == ["backbone.stem.conv", "backbone.blocks.0.depthwise.conv"]
    assert first_nodes(short) == {"backbone.stem.conv", "backbone.stem.act"}


@pytest.mark.parametrize("name", BACKBONES)
def test_gated_maps_are_those_of_blocks_with_squeeze_and_excitation(name: str) -> None:
    graph = graph_of(name)
    blocks = {node.name.rsplit(".se.", 1)[0] for node in graph.nodes if ".se." in node.name}
    found = gated(graph)
    assert {node for node in found if node in layers(graph)} == {f"{block}.depthwise.conv" for block in blocks}
    assert {node for node in found if isinstance(graph[node], g.GlobalPool)} == {f"{block}.se.pool" for block in blocks}
    assert sum(isinstance(graph[node], g.Multiply) for node in found) == len(blocks)
    assert len(found) == 3 * len(blocks)


def test_nothing_of_a_gated_map_is_held_in_bytes_until_the_product() -> None:
    graph = graph_of("mobilenet_v3_small")
    found = places(graph, Scheme(squeeze="int8", float_gated=True))
    block = "backbone.blocks.4"
    assert f"{block}.expand.act" not in found.values
    assert f"{block}.depthwise.act" not in found.values
    assert f"{block}.depthwise.conv" not in found.layers
    assert {f"{block}.expand.conv", f"{block}.project.conv", f"{block}.se.reduce", f"{block}.se.expand"} <= found.layers
    product = graph[f"{block}.project.conv"].inputs[0]
    assert isinstance(graph[product], g.Multiply)
    assert product in found.values


@pytest.mark.parametrize("float_results", [True, False])
def test_scores_are_rounded_before_they_are_enlarged_but_the_answer_never_is(float_results: bool) -> None:
    graph = graph_of("lraspp_mobilenet_v3_small")
    scores = {"head.project_low", "head.project_high"}
    scheme = Scheme(fused_add=False, float_results=float_results)
    assert not scores & places(graph, scheme).values
    found = places(graph, replace(scheme, rounds_scores=True))
    assert scores <= found.values
    assert scores <= found.layers
    last = graph[graph.output]
    assert isinstance(last, g.Resize)
    assert not {last.name, last.inputs[0]} & found.values, "they are added and enlarged in float32"


def test_the_scores_of_a_classifier_are_its_answer() -> None:
    graph = graph_of("mobilenet_v3_small")
    scheme = Scheme(fused_add=False, float_results=False)
    assert places(graph, replace(scheme, rounds_scores=True)) == places(graph, scheme)
