"""Lite R-ASPP against the published budgets and the formula of the paper, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from hswish.models import create_model, list_models
from hswish.models.lraspp import upsample
from hswish.models.segmenter import Segmenter

NAMES = [name for name in list_models() if name.startswith("lraspp_")]
Lived = Callable[..., nn.Module]


def segmenter(name: str = "lraspp_mobilenet_v3_small", **options: Any) -> Segmenter:
    model = create_model(name, **{"num_classes": 5, "width_mult": 0.35, **options})
    assert isinstance(model, Segmenter)
    return model.eval()


@pytest.mark.parametrize(
    ("size", "options", "parameters"),
    [
        ("large", {"num_classes": 11}, 1_505_198),  # counted from the authors' design; 1.51M in Table 7
        ("small", {"num_classes": 11}, 467_086),  # 0.47M in Table 7
    ],
)
def test_parameters_are_the_published_ones(size: str, options: dict[str, Any], parameters: int) -> None:
    model = create_model(f"lraspp_mobilenet_v3_{size}", **options)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("size", "options", "millions"),
    [
        ("large", {}, "1.51"),  # Table 7, row 8
        ("large", {"head_channels": 256}, "1.63"),  # row 7
        ("small", {}, "0.47"),  # row 11
        ("large", {"reduced_tail": False, "num_classes": 11}, "3.22"),
        ("small", {"reduced_tail": False, "num_classes": 11}, "1.08"),
    ],
)
def test_parameters_round_to_table_7(size: str, options: dict[str, Any], millions: str) -> None:
    model = create_model(f"lraspp_mobilenet_v3_{size}", **options)
    assert f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f}" == millions


@pytest.mark.parametrize(
    ("size", "output_stride", "reduced_tail", "billions"),
    [
        ("large", 16, True, 0.778),
        ("large", 32, True, 0.619),
        ("small", 16, True, 0.224),
        ("small", 32, True, 0.157),
        ("large", 16, False, 1.323),
        ("small", 32, False, 0.213),
    ],
)
def test_multiply_adds_at_360x480(size: str, output_stride: int, reduced_tail: bool, billions: float) -> None:
    model = segmenter(
        f"lraspp_mobilenet_v3_{size}",
        num_classes=11,
        width_mult=1.0,
        output_stride=output_stride,
        reduced_tail=reduced_tail,
    )
    costs: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda layer, _inputs, out: costs.append(layer.weight.numel() * out.shape[2] * out.shape[3])
            )
    with torch.no_grad():
        model(torch.zeros(1, 3, 360, 480))
    assert sum(costs) / 1e9 == pytest.approx(billions, abs=0.001)


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


def bilinear(x: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Half-pixel centres, edges repeated; one axis after the other."""
    for axis, size in ((2, height), (3, width)):
        old = x.shape[axis]
        centres = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, None)
        low = np.minimum(np.floor(centres).astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        part = (centres - low).reshape([-1 if dim == axis else 1 for dim in range(4)])
        x = np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part
    return x


@pytest.mark.parametrize("target", [(7, 5), (14, 10), (13, 41), (3, 2), (1, 1)])
def test_upsampling_is_bilinear_with_half_pixel_centres(target: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    computed = upsample(x, torch.empty(1, 1, *target)).numpy()
    np.testing.assert_allclose(computed, bilinear(x.numpy(), *target), rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(height=st.integers(32, 200), width=st.integers(32, 200), name=st.sampled_from(NAMES))
def test_logits_have_the_inputs_exact_size(height: int, width: int, name: str) -> None:
    with torch.no_grad():
        assert _NARROW[name](torch.randn(1, 3, height, width)).shape == (1, 5, height, width)


_NARROW = {name: segmenter(name) for name in NAMES}


@pytest.mark.parametrize("size", [(32, 2048), (2048, 32), (33, 1025), (1, 1), (2, 300), (31, 33)])
def test_awkward_sizes_come_back_exact(size: tuple[int, int]) -> None:
    for model in _NARROW.values():
        with torch.no_grad():
            logits = model(torch.randn(1, 3, *size))
        assert logits.shape == (1, 5, *size)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_pictures_one_by_one(name: str, lived: Lived) -> None:
    model = segmenter(name)
    lived(model)
    x = torch.randn(4, 3, 65, 71)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
    assert (together - alone).abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_small_picture_trains(name: str) -> None:
    torch.manual_seed(0)
    model = segmenter(name).train()
    x, target = torch.randn(1, 3, 32, 32), torch.randint(0, 5, (1, 32, 32))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(model(x), target)
        optimiser.zero_grad()
        loss.backward()
        assert not [key for key, weight in model.named_parameters() if weight.grad is None]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_options_reach_the_head() -> None:
    model = segmenter(in_channels=1, num_classes=2, head_channels=24, dropout=0.4, bn_eps=1e-5)
    assert model.head.features.conv.out_channels == 24
    assert model.head.dropout.p == 0.4
    assert model.head.features.norm.eps == 1e-5
    with torch.no_grad():
        assert model(torch.randn(1, 1, 33, 40)).shape == (1, 2, 33, 40)
        model.head.dropout.train()
        x = torch.randn(1, 1, 33, 40)
        assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("size", ["large", "small"])
def test_a_halved_tail_halves_expansions_too(size: str) -> None:
    full = segmenter(f"lraspp_mobilenet_v3_{size}", width_mult=1.0, reduced_tail=False).state_dict()
    half = segmenter(f"lraspp_mobilenet_v3_{size}", width_mult=1.0).state_dict()
    first = 12 if size == "large" else 8
    for index in range(first, first + 3):
        key = f"backbone.blocks.{index}.depthwise.conv.weight"
        assert 2 * half[key].shape[0] == full[key].shape[0]
    assert 2 * half["backbone.last.conv.weight"].shape[0] == full["backbone.last.conv.weight"].shape[0]
