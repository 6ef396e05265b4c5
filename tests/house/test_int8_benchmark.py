"""The int8 benchmark keeps its fields, and its ratio is what it says."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from benchmarks import int8
from hswish.quantize.places import is_layer
from hswish.spec import graph as g


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "python -m benchmarks.int8" in (int8.__doc__ or "")
    monkeypatch.setattr(int8, "NETWORKS", {"mobilenet_v3_small": (32, 48)})
    (row,) = int8.rows("mobilenet_v3_small", ["onnx"], 1, bound=True)
    assert (row.size, row.format, row.threads) == ("32x48", "onnx", 1)
    assert row.times_faster == pytest.approx(row.float_ms / row.int8_ms, rel=0.01)
    assert row.bound is not None
    assert row.bound_ms is not None
    assert row.bound == pytest.approx(row.float_ms / row.bound_ms, rel=0.01)
    (row,) = int8.rows("mobilenet_v3_small", ["onnx"], 1, bound=False)
    assert row.bound is row.bound_ms is None


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_the_bound_has_the_same_convolutions_of_maps_and_nothing_else_in_float(name: str) -> None:
    model = int8.network(name, (64, 96))
    graph = int8.make_job(model, int8.ExportOptions()).graph
    bare = int8.bare(graph)
    branches = int8.squeezes(graph)

    def layers(of: g.Graph) -> list[str]:
        return [node.name for node in of.nodes if is_layer(node) and node.name not in branches]

    assert layers(bare) == layers(graph)
    kinds = {node.kind for node in bare.nodes if isinstance(node, g.Activation)}
    assert kinds == {"relu"}
    assert not [node for node in bare.nodes if isinstance(node, g.Multiply)]
    assert bare.shape(bare.output) == graph.shape(graph.output)
