"""The readings of Figure 10: each head against what its source builds, and the windows of the official pooling.

Sources: the paper, section 6.4; TensorFlow DeepLab (`model.py` and the flags of the released weights);
torchvision's and fastseg's `lraspp.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hswish.spec.architecture import (
    HEADS,
    Architecture,
    ConcatHead,
    LRASPPHead,
    Pooling,
    RASPPHead,
    make_options,
    resolve,
)


def made(head: str, size: str = "large", **options: Any) -> Architecture:
    return resolve(f"lraspp_mobilenet_v3_{size}", head=head, **options)


@pytest.mark.parametrize(
    ("head", "skips", "gate", "corners", "eps", "classes"),
    [
        ("lraspp", {"large": (5, 120), "small": (2, 88)}, "sigmoid", False, 1e-3, 19),
        ("official", {"large": (5, 120), "small": (2, 88)}, "hard_sigmoid", True, 1e-5, 19),
        ("seed", {"large": (3, 40), "small": (1, 24)}, "sigmoid", False, 1e-3, 19),
        ("torchvision", {"large": (3, 40), "small": (1, 24)}, "sigmoid", False, 1e-5, 21),
    ],
)
def test_lite_raspp_in_its_readings(
    head: str, skips: dict[str, tuple[int, int]], gate: str, corners: bool, eps: float, classes: int
) -> None:
    for size, (block, channels) in skips.items():
        graph = made(head, size).head
        assert isinstance(graph, LRASPPHead)
        inner = ".depthwise" if channels in (120, 88) else ""
        assert (graph.skip.tap, graph.skip.channels) == (f"blocks.{block}{inner}", channels)
        assert (graph.gate, graph.align_corners, graph.bn_eps) == (gate, corners, eps)
        assert (graph.channels, graph.num_classes) == (128, classes)
        assert graph.gate_bias == (head != "torchvision")
        assert (graph.pooling is not None) == (head == "official")


def test_torchvisions_backbone_is_whole_and_dilated() -> None:
    arch = made("torchvision")
    assert not arch.options.reduced_tail
    assert (arch.options.output_stride, arch.options.width_rule, arch.options.atrous_rule) == (
        16,
        "torchvision",
        "torchvision",
    )
    assert isinstance(arch.head, LRASPPHead)
    assert arch.head.high_channels == 960


@pytest.mark.parametrize(
    ("size", "taps", "channels"),
    [("large", ["blocks.2", "blocks.0"], [24, 16]), ("small", ["blocks.0", "stem"], [16, 16])],
)
def test_fastseg_concatenates_a_quarter_and_a_half(size: str, taps: list[str], channels: list[int]) -> None:
    """Its `s4` and `s2`: the last output of each grid, and the stem where Small has no block at a half."""
    arch = made("fastseg", size)
    head = arch.head
    assert isinstance(head, ConcatHead)
    assert [skip.tap for skip in head.skips] == taps
    assert [skip.channels for skip in head.skips] == channels
    assert [skip.reduced for skip in head.skips] == [64, 32]
    assert (head.gate, head.gate_bias, head.bn_eps) == ("sigmoid", False, 1e-5)
    assert head.pooling == Pooling(window=49, stride=(16, 20))  # at output stride 8 too
    assert (arch.options.output_stride, arch.options.padding, arch.options.bn_eps) == (8, "same", 1e-3)


def test_raspp_has_no_skip() -> None:
    head = made("raspp").head
    assert isinstance(head, RASPPHead)
    assert (head.high_channels, head.channels, head.num_classes) == (480, 256, 19)
    assert made("raspp", reduced_tail=False).backbone.last_channels == 960


@pytest.mark.parametrize(
    ("output_stride", "pooling"),
    [
        (16, Pooling(window=49, stride=(16, 20))),  # section 6.4
        (32, Pooling(window=25, stride=(4, 5))),  # the released checkpoints: crop 769, stride 4,5
    ],
)
def test_the_official_pooling_windows(output_stride: int, pooling: Pooling) -> None:
    head = made("official", output_stride=output_stride).head
    assert isinstance(head, LRASPPHead)
    assert head.pooling == pooling
    side = -(-769 // output_stride)  # the training crop's map is one window
    assert (pooling.window, pooling.grid(side, side)) == (side, (1, 1))


@pytest.mark.parametrize(
    ("output_stride", "map_size", "grid"),
    [
        (16, (65, 129), (2, 5)),  # 1025 x 2049
        (32, (33, 65), (3, 9)),
        (16, (64, 128), (1, 4)),  # 1024 x 2048
        (16, (23, 30), (1, 1)),  # 360 x 480: smaller than the window
        (16, (1, 200), (1, 8)),  # one side is smaller
    ],
)
def test_gate_grids(output_stride: int, map_size: tuple[int, int], grid: tuple[int, int]) -> None:
    head = made("official", output_stride=output_stride).head
    assert isinstance(head, LRASPPHead)
    assert head.pooling is not None
    assert head.pooling.grid(*map_size) == grid


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 100), st.integers(1, 50), st.integers(1, 50))
def test_the_grid_counts_the_windows_that_fit(height: int, width: int, window: int, down: int, across: int) -> None:
    def positions(size: int, step: int) -> int:
        return len([start for start in range(0, size, step) if start + min(window, size) <= size])

    grid = Pooling(window=window, stride=(down, across)).grid(height, width)
    assert grid == (positions(height, down), positions(width, across))


@pytest.mark.parametrize("head", HEADS)
def test_a_head_gives_defaults_that_options_override(head: str) -> None:
    options = make_options("lraspp_mobilenet_v3_small", head=head)
    assert options.head == head
    assert options.dropout == 0
    chosen: dict[str, Any] = {"num_classes": 7, "output_stride": 32, "head_channels": 24, "width_rule": "keras"}
    changed = make_options("lraspp_mobilenet_v3_small", head=head, **chosen)
    assert {key: getattr(changed, key) for key in chosen} == chosen
    assert resolve("lraspp_mobilenet_v3_small", **resolve("lraspp_mobilenet_v3_small", head=head).options_dict()) == (
        resolve("lraspp_mobilenet_v3_small", head=head)
    )


def test_the_default_head_is_named_in_the_options() -> None:
    """So that an artifact says which graph it holds."""
    assert make_options("lraspp_mobilenet_v3_large").head == "lraspp"
    assert make_options("mobilenet_v3_large").head is None
