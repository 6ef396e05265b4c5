"""What 8 bits mean, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from hswish.spec import graph as g
from hswish.spec.artifact import Description
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import Interface
from hswish.spec.preprocess import Preprocess
from hswish.spec.quantized import QuantizedGraph, Range
from hswish.spec.quantized_file import QUANTIZED_KEY, read_quantized, write_quantized

DESCRIPTION = Description(
    model="mobilenet_v3_small",
    options={"num_classes": 2},
    classes=("a", "b"),
    preprocess=Preprocess(height=8, width=8, resize="stretch"),
)


def test_a_range_holds_zero_exactly_and_its_ends_nearly() -> None:
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0), (-1e-30, 1e-30)):
        held = Range.over(low, high)
        assert held.real(held.quantise(np.zeros(1, np.float32))) == 0
        ends = np.array([min(low, 0), max(high, 0)], np.float32)
        np.testing.assert_allclose(held.real(held.quantise(ends)), ends, atol=held.scale)


def test_rounding_is_to_the_nearest_code() -> None:
    held = Range(scale=0.5, zero_point=3)
    reals = np.array([0.24, 0.25, 0.26, 0.75, -1.5, -9, 1e9], np.float32)
    assert held.quantise(reals).tolist() == [3, 3, 4, 5, 0, 0, 255]  # of two equally near the even: 0.5 -> 0, 1.5 -> 2
    assert held.low == -1.5
    assert held.high == 126


def small() -> QuantizedGraph:
    """A convolution, h-swish, pooling and a linear layer that stays in float32."""
    rng = np.random.default_rng(0)
    conv = g.Convolution(
        name="conv",
        inputs=(g.INPUT,),
        shape=(1, 4, 8, 8),
        weight=rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        bias=rng.normal(size=4).astype(np.float32),
        stride=1,
        dilation=1,
        groups=1,
        padding=(1, 1, 1, 1),
        same=False,
    )
    act = g.Activation(name="act", inputs=("conv",), shape=conv.shape, kind="hard_swish")
    pool = g.GlobalPool(name="pool", inputs=("act",), shape=(1, 4, 1, 1))
    flat = g.Flatten(name="flat", inputs=("pool",), shape=(1, 4))
    head = g.Linear(
        name="head",
        inputs=("flat",),
        shape=(1, 2),
        weight=rng.normal(size=(2, 4)).astype(np.float32),
        bias=rng.normal(size=2).astype(np.float32),
    )
    graph = g.Graph(input_shape=(1, 3, 8, 8), nodes=(conv, act, pool, flat, head), output="head")
    return QuantizedGraph(
        graph=graph,
        values={g.INPUT: Range.over(-2, 2), "act": Range.over(-0.375, 5)},
        scales={"conv": np.full(4, 0.02, np.float32)},
        notes={"ranges": "least error"},
    )


def test_codes_stand_for_the_weights() -> None:
    net = small()
    codes = net.integers("conv")
    assert codes.bias is not None
    np.testing.assert_allclose(codes.weight * 0.02, net.layer("conv").weight.clip(-2.54, 2.54), atol=0.0101)
    np.testing.assert_allclose(codes.bias * net.product_scale("conv"), net.layer("conv").bias, atol=1e-3)
    seven = replace(net, weight_bits=7).integers("conv")
    assert np.abs(seven.weight).max() <= 63


def test_a_file_gives_back_the_same_codes(tmp_path: Path) -> None:
    net, interface = small(), Interface(size=(8, 8), precision="int8")
    write_quantized(tmp_path / "n.int8.safetensors", net, DESCRIPTION, interface)
    back, description, found = read_quantized(tmp_path / "n.int8.safetensors")
    assert (description, found) == (DESCRIPTION, interface)
    assert back.values == net.values
    assert back.notes == net.notes
    for one, other in zip(net.graph.nodes, back.graph.nodes, strict=True):
        assert (type(one), one.name, one.inputs, one.shape) == (type(other), other.name, other.inputs, other.shape)
    before, after = net.integers("conv"), back.integers("conv")
    np.testing.assert_array_equal(before.weight, after.weight)
    np.testing.assert_array_equal(before.bias, after.bias)
    np.testing.assert_array_equal(net.layer("head").weight, back.layer("head").weight)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "newer hswish"),
        ({"output": "nothing"}, "not there"),
        ({"values": {"act": [-1.0, 0]}}, "range of scale -1"),
        ({"values": {}}, "damaged"),
        ({"nodes": [{"type": "Explosion", "name": "x"}]}, "Explosion"),
        ({"nodes": 3}, "damaged"),
        ({"weight_bits": float("inf")}, "damaged"),
        ({"nodes": [{"type": "Linear", "name": "conv", "inputs": [], "shape": [1, 3]}]}, "damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: dict, reason: str) -> None:
    path = tmp_path / "n.int8.safetensors"
    write_quantized(path, small(), DESCRIPTION, Interface(size=(8, 8), precision="int8"))
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    metadata[QUANTIZED_KEY] = json.dumps({**json.loads(metadata[QUANTIZED_KEY]), **change})
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    with pytest.raises(ModelFileError, match=reason) as error:
        read_quantized(path)
    assert str(error.value).startswith(str(path))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(1, np.float32)}))
    with pytest.raises(ModelFileError, match="holds no 8-bit network"):
        read_quantized(path)
