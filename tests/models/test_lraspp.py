"""Lite R-ASPP against the formula of the paper, step by step; its budgets are in test_budget.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hswish.models import create_model, list_models
from hswish.models.lraspp import WindowPool, upsample
from hswish.models.segmenter import Segmenter
from hswish.spec.architecture import Pooling
from tests.models import reference as ref
from tests.models.heads import HeadPair

NAMES = [name for name in list_models() if name.startswith("lraspp_")]
Lived = Callable[..., nn.Module]


def segmenter(name: str = "lraspp_mobilenet_v3_small", **options: Any) -> Segmenter:
    model = create_model(name, **{"num_classes": 5, "width_mult": 0.35, **options})
    assert isinstance(model, Segmenter)
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_the_head_is_the_papers_formula(name: str, output_stride: int, lived: Lived) -> None:
    model = segmenter(name, output_stride=output_stride).double()
    lived(model)
    w = model.state_dict()
    x = torch.randn(2, 3, 75, 101, dtype=torch.float64)
    low_block = 5 if "large" in name else 2  # the last block on the 1/8 grid
    with torch.no_grad():
        x2, x4 = model.backbone.taps(x, [f"blocks.{low_block}.depthwise", "last"])
        assert x2.shape[-2:] == (10, 13)

        features = F.conv2d(x4, w["head.features.conv.weight"])
        features = F.batch_norm(
            features,
            w["head.features.norm.running_mean"],
            w["head.features.norm.running_var"],
            w["head.features.norm.weight"],
            w["head.features.norm.bias"],
            eps=1e-3,
        )
        features = F.relu(features)
        attention = torch.sigmoid(F.conv2d(F.adaptive_avg_pool2d(x4, 1), w["head.gate.weight"], w["head.gate.bias"]))
        deep = F.interpolate(attention * features, size=(10, 13), mode="bilinear", align_corners=False)
        score = F.conv2d(deep, w["head.project_high.weight"], w["head.project_high.bias"])
        score = score + F.conv2d(x2, w["head.project_low.weight"], w["head.project_low.bias"])
        wanted = F.interpolate(score, size=(75, 101), mode="bilinear", align_corners=False)
        logits = model(x)
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "channels"), [("large", 120), ("small", 88)])
def test_the_skip_is_taken_before_squeeze_and_excitation(name: str, channels: int) -> None:
    model = segmenter(f"lraspp_mobilenet_v3_{name}", width_mult=1.0)
    assert model.head.project_low.in_channels == channels  # the authors' code: 120 and 88
    assert model.head.gate.bias is not None
    assert model.head.features.conv.bias is None


@pytest.mark.parametrize("target", [(7, 5), (14, 10), (13, 41), (3, 2), (1, 1)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_upsampling_is_bilinear(target: tuple[int, int], align_corners: bool) -> None:
    """Half-pixel centres, or corner pixels upon corner pixels."""
    x = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    computed = upsample(x, torch.empty(1, 1, *target), align_corners=align_corners).numpy()
    np.testing.assert_allclose(computed, ref.resize(x.numpy(), target, align_corners), rtol=1e-12, atol=1e-12)


# --- Pooling by a window -------------------------------------------------------------------


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    window=st.integers(1, 64),
    stride=st.tuples(st.integers(1, 24), st.integers(1, 24)),
)
def test_window_pooling_is_the_mean_of_each_window(
    height: int, width: int, window: int, stride: tuple[int, int]
) -> None:
    pooling = Pooling(window=window, stride=stride)
    x = np.random.RandomState(height).standard_normal((2, 3, height, width))
    computed = WindowPool(pooling)(torch.from_numpy(x)).numpy()
    assert computed.shape[2:] == pooling.grid(height, width)
    np.testing.assert_allclose(computed, ref.window_mean(x, window, stride), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("output_stride", "map_size", "grid"),
    [
        (16, (65, 129), (2, 5)),  # 1025 x 2049 pixels, the paper's evaluation size
        (32, (33, 65), (3, 9)),
        (16, (49, 49), (1, 1)),  # its training crop of 769 pixels is pooled globally
        (32, (25, 25), (1, 1)),
        (16, (23, 30), (1, 1)),  # CamVid
    ],
)
def test_the_papers_windows(output_stride: int, map_size: tuple[int, int], grid: tuple[int, int]) -> None:
    head = segmenter(head="official", output_stride=output_stride).head
    x = torch.randn(1, 4, *map_size)
    pooled = head.pool(x)
    assert pooled.shape[2:] == grid
    if grid == (1, 1):
        torch.testing.assert_close(pooled, x.mean((2, 3), keepdim=True))


HEAD_PAIRS = {
    (head, output_stride): HeadPair(head, output_stride=output_stride)
    for head, output_stride in [("lraspp", 16), ("official", 32), ("official", 16), ("seed", 16), ("torchvision", 16)]
}
sides = st.integers(1, 70)


@given(which=st.sampled_from(list(HEAD_PAIRS)), height=sides, width=sides, skip=st.tuples(sides, sides))
def test_each_head_is_the_reference_at_any_size(
    which: tuple[str, int], height: int, width: int, skip: tuple[int, int]
) -> None:
    """On deep maps of one pixel to some larger than the windows, to a skip of whatever size."""
    pair = HEAD_PAIRS[which]
    inputs = pair.inputs((height, width), skip, seed=height)
    computed = pair.computed(*inputs)
    assert computed.shape == (2, 5, *skip)
    np.testing.assert_allclose(computed, pair.wanted(*inputs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_on_small_pictures_the_official_head_differs_in_gate_corners_and_epsilon_only(name: str, lived: Lived) -> None:
    """Where the map is no larger than the window, the windows are the whole map."""
    ours = lived(segmenter(name).double())
    official = segmenter(name, head="official").double()
    official.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 150, 200, dtype=torch.float64)
    with torch.no_grad():
        wanted = ours(x)
        for change in (
            lambda: setattr(official.head, "sigmoid", nn.Sigmoid()),
            lambda: setattr(official.head.features.norm, "eps", 1e-3),
            lambda: setattr(official.head, "align_corners", False),
            lambda: setattr(official, "align_corners", False),
        ):
            assert (official(x) - wanted).abs().max() > 1e-5
            change()
        torch.testing.assert_close(official(x), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", ["large", "small"])
def test_a_halved_tail_halves_expansions_too(size: str) -> None:
    full = segmenter(f"lraspp_mobilenet_v3_{size}", width_mult=1.0, reduced_tail=False).state_dict()
    half = segmenter(f"lraspp_mobilenet_v3_{size}", width_mult=1.0).state_dict()
    first = 12 if size == "large" else 8
    for index in range(first, first + 3):
        key = f"backbone.blocks.{index}.depthwise.conv.weight"
        assert 2 * half[key].shape[0] == full[key].shape[0]
    assert 2 * half["backbone.last.conv.weight"].shape[0] == full["backbone.last.conv.weight"].shape[0]
