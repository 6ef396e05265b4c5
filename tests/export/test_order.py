"""A 1x1 convolution that narrows goes before the resize in front of it, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hswish.export.order import narrow_first
from hswish.export.trace import trace
from hswish.models import DescribedModule, create_model
from hswish.quantize.network import GraphNetwork
from hswish.spec import graph as g

SIZE = (7, 9)


def chain(out_channels: int, *, align_corners: bool = False, **changes: object) -> g.Graph:
    """(1, 8, 7, 9) pooled by 2, enlarged back, convolved, and added to another convolution of the input."""
    rng = np.random.default_rng(0)

    def conv(name: str, source: str, **others: object) -> g.Convolution:
        about = {
            "weight": rng.normal(size=(out_channels, 8, 1, 1)).astype(np.float32),
            "bias": rng.normal(size=out_channels).astype(np.float32),
            "stride": 1, "dilation": 1, "groups": 1, "padding": (0, 0, 0, 0), "same": False, **others,
        }  # fmt: skip
        return g.Convolution(name=name, inputs=(source,), shape=(1, out_channels, *SIZE), **about)  # type: ignore[arg-type]

    nodes: list[g.Node] = [
        g.WindowPool(name="pool", inputs=(g.INPUT,), shape=(1, 8, 3, 4), asked=2, window=(2, 2), stride=(2, 2)),
        g.Resize(name="large", inputs=("pool", g.INPUT), shape=(1, 8, *SIZE), align_corners=align_corners),
        conv("narrow", "large", **changes),
        conv("skip", g.INPUT),
        g.Add(name="sum", inputs=("narrow", "skip"), shape=(1, out_channels, *SIZE)),
    ]
    return g.Graph(input_shape=(1, 8, *SIZE), nodes=tuple(nodes), output="sum")


def answers(graph: g.Graph) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.inference_mode():
        return GraphNetwork(graph)(torch.randn(2, *graph.input_shape[1:]))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_the_answer_stays_and_less_is_enlarged(align_corners: bool, last: bool) -> None:
    graph = chain(3, align_corners=align_corners)
    if last:  # the convolution gives the answer
        graph = replace(graph, nodes=graph.nodes[:3], output="narrow")
    found = narrow_first(graph)
    assert torch.allclose(answers(found), answers(graph), atol=1e-5)
    assert [node.name for node in found.nodes[:3]] == ["pool", "narrow", "large"]
    assert found["narrow"].shape == (1, 3, 3, 4)
    assert found["large"].shape == (1, 3, *SIZE)
    assert found.output == ("large" if last else "sum")


def test_several_pairs_in_one_graph() -> None:
    graph = chain(3)
    more = [
        g.Resize(name="larger", inputs=("pool", g.INPUT), shape=(1, 8, *SIZE), align_corners=True),
        replace(graph["narrow"], name="narrow_2", inputs=("larger",)),
        g.Add(name="sum_2", inputs=("narrow_2", "sum"), shape=(1, 3, *SIZE)),
    ]
    graph = replace(graph, nodes=(*graph.nodes, *more), output="sum_2")
    found = narrow_first(graph)
    assert sorted(node.name for node in found.nodes) == sorted(node.name for node in graph.nodes)
    assert {node.shape[1] for node in found.nodes if isinstance(node, g.Resize)} == {3}
    assert torch.allclose(answers(found), answers(graph), atol=1e-5)


@pytest.mark.parametrize(
    "graph",
    [
        chain(8),
        chain(3, stride=2),
        chain(3, padding=(1, 1, 1, 1)),
        chain(4, groups=2, weight=np.ones((4, 4, 1, 1), np.float32)),
        chain(3, weight=np.ones((3, 8, 3, 3), np.float32)),
    ],
    ids=["as wide", "stride", "padding", "groups", "3x3"],
)
def test_others_stay_where_they_are(graph: g.Graph) -> None:
    assert [node.name for node in narrow_first(graph).nodes] == [node.name for node in graph.nodes]


def test_not_past_an_activation_or_another_reader() -> None:
    graph = chain(3)
    act = g.Activation(name="act", inputs=("narrow",), shape=(1, 3, *SIZE), kind="relu")
    active = replace(graph, nodes=(*graph.nodes, act), output="act")
    other = g.GlobalPool(name="mean", inputs=("large",), shape=(1, 8, 1, 1))
    read = replace(graph, nodes=(*graph.nodes, other), output="mean")
    for case in (active, read):
        assert [node.name for node in narrow_first(case).nodes] == [node.name for node in case.nodes]


@pytest.mark.parametrize(("head", "wanted"), [("torchvision", [11, 11]), ("official", [11, 11, 128])])
def test_lite_raspp_enlarges_scores_and_not_features(head: str, wanted: list[int]) -> None:
    """Figure 10 has the 1x1 convolution to the classes after the upsampling of 128 features. (A pooled gate stays.)"""
    model = create_model("lraspp_mobilenet_v3_small", num_classes=11, head=head)
    assert isinstance(model, DescribedModule)
    resizes = [node.shape[1] for node in trace(model.eval(), (96, 128)).nodes if isinstance(node, g.Resize)]
    assert sorted(resizes) == wanted
