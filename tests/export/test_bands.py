"""Groups of lines multiplied by their weights are what torch's bilinear enlargement makes of the lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hswish.export.bands import bands, enlargement
from hswish.spec import graph as g


@given(rows=st.integers(1, 40), factor=st.integers(2, 16), seed=st.integers(0, 99))
def test_torchs_own(rows: int, factor: int, seed: int) -> None:
    found = bands(rows, rows * factor)
    assert found is not None
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    made = (found.weight @ x[found.taken]).reshape(rows * factor, 3)
    np.testing.assert_array_equal(found.picks @ x, x[found.taken].reshape(-1, 3))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x).double()[None, None], (rows * factor, 3), mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize(("rows", "enlarged"), [(45, 359), (45, 45), (45, 20), (3, 4)])
def test_only_by_whole_factors(rows: int, enlarged: int) -> None:
    assert bands(rows, enlarged) is None


def resized(size: tuple[int, int], align_corners: bool = False) -> g.Graph:
    """(1, 5, 6, 8) enlarged to `size`."""
    node = g.Resize(name="large", inputs=(g.INPUT, g.INPUT), shape=(1, 5, *size), align_corners=align_corners)
    return g.Graph(nodes=(node,), input_shape=(1, 5, 6, 8), output="large")


def of(graph: g.Graph) -> object:
    node = graph["large"]
    assert isinstance(node, g.Resize)
    return enlargement(graph, node)


def test_logits_alone_are_enlarged_so() -> None:
    graph = resized((48, 64))
    assert of(graph) is not None
    pooled = g.GlobalPool(name="pool", inputs=("large",), shape=(1, 5, 1, 1))
    assert of(replace(graph, nodes=(*graph.nodes, pooled), output="pool")) is None
    mask = g.ArgMax(name="mask", inputs=("large",), shape=(1, 48, 64))
    assert of(replace(graph, nodes=(*graph.nodes, mask), output="mask")) is not None


@pytest.mark.parametrize(
    "graph", [resized((48, 64), True), resized((47, 64)), resized((48, 65))], ids=["corners", "rows", "columns"]
)
def test_by_the_general_resize_otherwise(graph: g.Graph) -> None:
    assert of(graph) is None
