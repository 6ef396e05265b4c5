"""The integer arithmetic against plain double precision, and the simulator against the integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hswish.quantize import Passes, Scheme, quantize
from hswish.quantize.network import GraphNetwork
from hswish.quantize.places import Squeeze
from hswish.quantize.reference import reference_values, run_reference
from hswish.quantize.simulate import SimulatedNetwork, run
from hswish.spec.graph import Graph
from hswish.spec.quantized import QuantizedGraph
from tests.contract.networks import network
from tests.quantize.conftest import NAMES, batch_of, graph_of

SCHEMES = [Scheme(), Scheme(squeeze="int8"), Scheme(fused=frozenset({"relu"}), fused_add=False, squeeze="int8")]


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_in_torch_is_the_network(name: str) -> None:
    batch = batch_of()
    with torch.inference_mode():
        wanted = network(name)(torch.from_numpy(batch)).numpy()
    (found,) = run(GraphNetwork(graph_of(name)), [batch])
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_graph_without_codes_runs_in_float(graph: Graph, batch: NDArray[np.float32]) -> None:
    (wanted,) = run(GraphNetwork(graph), [batch[:2]])
    found = run_reference(QuantizedGraph(graph=graph, values={}, scales={}), batch[:2])
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.squeeze}-{len(scheme.fused)}")
def test_the_simulator_is_the_integer_arithmetic(graph: Graph, batch: NDArray[np.float32], scheme: Scheme) -> None:
    """Value by value: each is run from the reference's own inputs, and is then within one code of it."""
    net = quantize(graph, [batch], scheme, Passes(correct_bias=False))
    simulated, wanted = SimulatedNetwork(net), reference_values(net, batch[:2])
    reals = {name: net.values[name].real(value) if name in net.values else value for name, value in wanted.items()}
    tipped = total = 0
    for node in graph.nodes:
        with torch.inference_mode():
            made = simulated.run(node, [torch.from_numpy(reals[name]) for name in node.inputs])
            found = simulated.between(node.name, made).numpy()
        if node.name in net.values:
            steps = np.abs(found - reals[node.name]) / net.values[node.name].scale
            assert steps.max() < 1.01, node.name
            tipped, total = tipped + int((steps > 0.5).sum()), total + steps.size
        else:
            np.testing.assert_allclose(found, reals[node.name], rtol=1e-4, atol=1e-4 * np.abs(found).max())
    assert tipped < 1e-3 * total  # a sum in another order tips what lies between two codes, here and there


def test_integers_are_what_they_stand_for(batch: NDArray[np.float32]) -> None:
    """One layer by hand: sums of products of bytes in Python's own integers."""
    net = quantize(graph_of("mobilenet_v3_small"), [batch])
    node, held = net.layer("backbone.stem.conv"), net.values["input"]
    codes, pixels = net.integers(node.name), held.quantise(batch[:1]).astype(int)
    first = replace(net.graph, nodes=net.graph.nodes[:1], output=node.name)
    found = run_reference(replace(net, graph=first), batch[:1])
    for channel, row, column in ((0, 0, 0), (3, 5, 7), (5, 23, 31)):
        total = int(codes.bias[channel])
        for plane in range(3):
            for down in range(3):
                for across in range(3):
                    y, x = 2 * row + down - 1, 2 * column + across - 1
                    if 0 <= y < pixels.shape[2] and 0 <= x < pixels.shape[3]:
                        weight = int(codes.weight[channel, plane, down, across])
                        total += (int(pixels[0, plane, y, x]) - held.zero_point) * weight
        assert found[0, channel, row, column] == np.float32(total) * net.product_scale(node.name)[channel]


@pytest.mark.parametrize("squeeze", ["float", "int8"])
def test_places_follow_the_scheme(squeeze: Squeeze) -> None:
    net = quantize(graph_of("mobilenet_v3_small"), [batch_of()], Scheme(squeeze=squeeze))
    block = "backbone.blocks.0"
    names = [node.name for node in net.graph.nodes]
    assert f"{block}.depthwise.conv" in names
    assert f"{block}.depthwise.conv" not in net.values, "what stands before a fused activation is not rounded"
    assert f"{block}.depthwise.act" in net.values
    assert (f"{block}.se.gate" in net.values) == (squeeze == "int8")
    assert net.computes_in_integers(f"{block}.se.reduce") == (squeeze == "int8")
    assert f"{block}.se.reduce" in net.scales, "its weights are held in 8 bits all the same"
    assert net.graph.output not in net.values


def test_a_layer_kept_in_float_reads_and_gives_what_its_neighbours_need() -> None:
    graph = graph_of("mobilenet_v3_small")
    kept = next(node.name for node in graph.nodes if node.name.endswith("blocks.2.expand.conv"))
    apart = Scheme(fused=frozenset(), kept=frozenset({kept}))
    net = quantize(graph, [batch_of()], apart)
    assert kept not in net.scales
    assert kept not in net.values, "its activation computes in float32, too"
    assert kept.replace("conv", "act") in net.values, "which the next layer reads as bytes"
    everything = frozenset(node.name for node in graph.nodes)
    nothing = quantize(graph, [batch_of()], Scheme(kept=everything))
    assert not nothing.values
    assert not nothing.scales
