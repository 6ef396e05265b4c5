"""Each pass alone: exact where it says so, better where it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hswish.quantize import quantize
from hswish.quantize.bias import correct_bias
from hswish.quantize.equalise import equalise
from hswish.quantize.finetune import Finetuning, distance, finetune
from hswish.quantize.importance import importance
from hswish.quantize.network import GraphNetwork
from hswish.quantize.pad import pad_channels
from hswish.quantize.ranges import histograms, least_error, minmax, needed
from hswish.quantize.reference import activation
from hswish.quantize.repair import channel_reach, repair
from hswish.quantize.sensitivity import sensitivity
from hswish.quantize.simulate import SimulatedNetwork, run
from hswish.quantize.weights import largest_scales, weight_scales
from hswish.spec import graph as g
from hswish.spec.errors import OptionError
from hswish.spec.quantized import BIAS_LIMIT, QuantizedGraph, Range
from tests.quantize.conftest import NAIVE, batch_of, graph_of


def answers(graph: g.Graph, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    (made,) = run(GraphNetwork(graph), [batch])
    return made


def error_of(weight: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """(out,) squared error of 8-bit weights, the slow way."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    steps = scale.astype(np.float64)[:, None]
    return ((np.clip(np.rint(rows / steps), -127, 127) * steps - rows) ** 2).sum(1)


def test_weight_scales_have_the_least_error() -> None:
    weight = np.random.default_rng(0).standard_t(3, (6, 4000)).astype(np.float32)  # with large ones here and there
    fitted, usual = weight_scales(weight), largest_scales(weight)
    assert (error_of(weight, fitted) <= error_of(weight, usual)).all()
    assert error_of(weight, fitted).sum() < error_of(weight, usual).sum()
    tried = [error_of(weight, usual * np.float32(part)) for part in np.linspace(0.2, 1.1, 200)]
    assert (error_of(weight, fitted) <= 1.03 * np.min(tried, 0)).all()


def test_biases_of_channels_that_are_nearly_zero_fit_their_integers() -> None:
    weight = np.array([[1.0, -1.0], [1e-9, 0.0], [0.0, 0.0]], np.float32)
    bias = np.array([0.5, 2.0, -7.0], np.float32)
    for scales in (weight_scales, largest_scales):
        codes = np.rint(bias / (0.01 * scales(weight, 8, bias, 0.01)))
        assert np.abs(codes).max() <= BIAS_LIMIT
        np.testing.assert_allclose(codes * 0.01 * scales(weight, 8, bias, 0.01), bias, atol=1e-4)


def test_ranges_have_less_error_than_the_extremes() -> None:
    graph, batch = graph_of("mobilenet_v3_small"), batch_of()
    name = "backbone.blocks.3.expand.act"
    found = histograms(graph, [name], [batch[:4], batch[4:]])[name]
    assert found.counts.sum() == pytest.approx(batch.shape[0] * np.prod(graph.shape(name)[1:]))
    values = answers(replace(graph, output=name), batch)
    assert found.low == values.min()
    assert found.high == values.max()

    def error(held: Range) -> float:
        return float(np.square(held.real(held.quantise(values)) - values, dtype=np.float64).mean())

    assert error(least_error(found)) < error(minmax(found))
    far = replace(
        found,
        high=found.low + 3 * (found.high - found.low),
        counts=np.concatenate([found.counts * 1e4, np.zeros(2 * len(found.counts))]),
    )
    far.counts[-1] = 1
    assert least_error(far).high < 0.5 * far.high


class Disturbed(GraphNetwork):
    """Adds noise to one channel of one value."""

    def __init__(self, graph: g.Graph, value: str, channel: int) -> None:
        super().__init__(graph)
        self.value, self.channel = value, channel

    def between(self, name: str, value: torch.Tensor) -> torch.Tensor:
        if name == self.value:
            value = value.clone()
            value[:, self.channel] += 0.1 * torch.randn(value[:, self.channel].shape)
        return value


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_noise_in_important_channels_moves_the_answer_more(name: str) -> None:
    graph, batch, value = graph_of(name), batch_of(), "backbone.blocks.0.project.conv"
    (reader,) = (node for node in graph.nodes if value in node.inputs)
    factors = np.random.default_rng(0).permutation(np.geomspace(0.1, 10, graph.shape(value)[1], dtype=np.float32))
    scaled = replace(reader, weight=reader.weight * factors[:, None, None])  # type: ignore[attr-defined]
    graph = replace(graph, nodes=tuple(scaled if node is reader else node for node in graph.nodes))
    right, found = answers(graph, batch), importance(graph)
    assert set(found) == {g.INPUT, *(node.name for node in graph.nodes)}
    torch.manual_seed(0)
    moved = []
    for channel in range(graph.shape(value)[1]):
        (made,) = run(Disturbed(graph, value, channel), [batch])
        moved.append(np.square(made - right).mean())
    assert np.corrcoef(np.log(found[value]), np.log(moved))[0, 1] > 0.9
    counted = histograms(graph, [value], [batch], found)[value]
    assert counted.counts.sum() == pytest.approx(batch.shape[0] * np.prod(graph.shape(value)[1:]), rel=1e-3)


def test_importance_by_hand() -> None:
    weight = np.array([[3.0, 0.0], [4.0, 1.0]], np.float32)
    first = g.Linear(name="a", inputs=(g.INPUT,), shape=(1, 2), weight=weight, bias=np.zeros(2, np.float32))
    act = g.Activation(name="b", inputs=("a",), shape=(1, 2), kind="relu")
    last = g.Linear(
        name="c", inputs=("b",), shape=(1, 1), weight=np.array([[1.0, 2.0]], np.float32), bias=first.bias[:1]
    )
    found = importance(g.Graph(nodes=(first, act, last), input_shape=(1, 2, 1, 1), output="c"))
    np.testing.assert_allclose(found["c"], [1])
    np.testing.assert_allclose(found["b"], [0.4, 1.6])
    np.testing.assert_allclose(found["a"], [0.4, 1.6])
    wanted = np.array([9 * 0.4 + 16 * 1.6, 1.6])
    np.testing.assert_allclose(found[g.INPUT], wanted / wanted.mean())


@pytest.mark.parametrize("kind", ["hard_swish", "hard_sigmoid", "relu"])
def test_what_is_clipped_before_an_activation_changes_nothing(kind: g.ActivationKind) -> None:
    node = g.Activation(name="act", inputs=("x",), shape=(1, 1), kind=kind)
    values = np.linspace(-9, 9, 1001, dtype=np.float32)
    low, high = needed([node])
    np.testing.assert_array_equal(activation(kind, values.clip(low, high)), activation(kind, values))
    assert needed([node, g.GlobalPool(name="p", inputs=("x",), shape=(1, 1))]) == (-np.inf, np.inf)


def test_repair_takes_out_dead_channels_alone() -> None:
    graph, batch = graph_of("mobilenet_v3_large_minimal"), batch_of()
    assert answers(repair(graph, [batch]), batch) == pytest.approx(answers(graph, batch), abs=1e-3)
    writer, reader = "backbone.blocks.2.expand.conv", "backbone.blocks.2.depthwise.conv"
    bias = graph[writer].bias.copy()  # type: ignore[attr-defined]
    bias[3] = -1e4  # ReLU gives 0 for ever
    killed = tuple(replace(node, bias=bias) if node.name == writer else node for node in graph.nodes)
    repaired = repair(replace(graph, nodes=killed), [batch])
    assert not repaired[reader].weight[3].any()  # type: ignore[attr-defined]
    assert repaired[reader].weight[2].any()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_large_minimal", "lraspp_mobilenet_v3_small"])
def test_equalisation_is_exact_and_evens_the_channels(name: str) -> None:
    graph, batch = graph_of(name), batch_of()
    before = channel_reach(graph, [batch])
    made = equalise(graph, before)
    wanted = answers(graph, batch)
    np.testing.assert_allclose(answers(made, batch), wanted, atol=1e-4 * np.abs(wanted).max())
    after = channel_reach(made, [batch])
    value = "backbone.blocks.1.expand.act"  # ReLU, read by a depthwise convolution
    assert np.ptp(np.log(after[value] + 1e-6)) < np.ptp(np.log(before[value] + 1e-6))
    changed = [node.name for node, old in zip(made.nodes, graph.nodes, strict=True) if node is not old]
    assert ("backbone.stem.conv" in changed) == name.endswith("minimal"), "elsewhere h-swish follows it"
    if name == "mobilenet_v3_large":
        assert "backbone.blocks.3.se.reduce" in changed, "squeeze-and-excitation reads what was scaled"
        assert "backbone.blocks.7.depthwise.conv" not in changed


def test_padded_channels_change_nothing(graph: g.Graph, batch: NDArray[np.float32]) -> None:
    padded = pad_channels(graph, 16)
    for node in padded.nodes:
        if isinstance(node, g.Convolution) and node.depthwise:
            assert node.groups % 16 == 0
    wanted = answers(graph, batch)
    np.testing.assert_allclose(answers(padded, batch), wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_map_whose_size_a_resize_asks_for_is_padded_too(batch: NDArray[np.float32]) -> None:
    graph = graph_of("lraspp_mobilenet_v3_small", width_mult=1.0)
    skip = "backbone.blocks.2.depthwise.act"  # 88 channels, read by the block, the head, and for its size alone
    assert any(isinstance(node, g.Resize) and node.inputs[1] == skip for node in graph.nodes)
    padded = pad_channels(graph, 16)
    assert padded.shape(skip)[1] == 96
    wanted = answers(graph, batch)
    np.testing.assert_allclose(answers(padded, batch), wanted, atol=1e-5 * np.abs(wanted).max())


def test_bias_correction_takes_out_the_shift(graph: g.Graph, batch: NDArray[np.float32]) -> None:
    rough = quantize(graph, [batch], passes=NAIVE)
    rough = replace(rough, scales={name: scale * 4 for name, scale in rough.scales.items()})  # 6 bits: a shift shows
    corrected = correct_bias(rough, graph, [batch[:4], batch[4:]])
    wanted = answers(graph, batch)

    def shift(net: QuantizedGraph) -> float:
        (made,) = run(SimulatedNetwork(net), [batch])
        axes = tuple(axis for axis in range(made.ndim) if axis != 1)
        return float(np.abs((made - wanted).mean(axes)).max())

    assert shift(corrected) < 0.2 * shift(rough)


def test_the_layer_that_rounding_hurts_most_comes_first() -> None:
    graph, batch = graph_of("mobilenet_v3_small"), batch_of()
    net = quantize(graph, [batch], passes=NAIVE)
    worst = "backbone.blocks.4.project.conv"
    net = replace(net, scales={name: scale * (30 if name == worst else 1) for name, scale in net.scales.items()})
    table = sensitivity(net, graph, [batch[:4]])
    assert table[0].layer == worst
    assert table[0].error > 1.5 * table[1].error
    assert {row.layer for row in table} == set(net.scales)


def test_fine_tuning_brings_the_answers_nearer() -> None:
    graph, batch = graph_of("mobilenet_v3_small"), batch_of()
    rough = quantize(graph, [batch], passes=NAIVE)
    rough = replace(rough, scales={name: scale * 8 for name, scale in rough.scales.items()})  # 5 bits
    losses: list[float] = []
    tuned = finetune(
        rough, graph, [batch], Finetuning(steps=25, rate=1e-3), lambda done, total, loss: losses.append(loss)
    )
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:2])
    wanted = torch.from_numpy(answers(graph, batch))
    (before,), (after,) = (run(SimulatedNetwork(net), [batch]) for net in (rough, tuned))
    assert distance(torch.from_numpy(after), wanted) < 0.9 * distance(torch.from_numpy(before), wanted)
    assert tuned.values == rough.values
    with pytest.raises(OptionError, match="at least one step"):
        Finetuning(steps=0)
