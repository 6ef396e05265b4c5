"""Segmenters of every head: logits at the input's exact size, from the maps that the head names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hswish.models import create_model, list_models
from hswish.models.segmenter import Segmenter
from hswish.spec.architecture import HEADS
from tests.models import reference as ref

NAMES = [name for name in list_models() if name.startswith("lraspp_")]
Lived = Callable[..., nn.Module]


def segmenter(head: str, name: str = "lraspp_mobilenet_v3_small", **options: Any) -> Segmenter:
    model = create_model(name, **{"num_classes": 5, "width_mult": 0.1, "head_channels": 16, "head": head, **options})
    assert isinstance(model, Segmenter)
    return model.eval()


EACH = {(name, head): segmenter(head, name) for name in NAMES for head in HEADS}
PADDED = {(name, head): segmenter(head, name, padding="same") for name in NAMES for head in HEADS}


@settings(max_examples=60)
@given(height=st.integers(1, 200), width=st.integers(1, 200), which=st.sampled_from(list(EACH)), same=st.booleans())
def test_logits_have_the_inputs_exact_size(height: int, width: int, which: tuple[str, str], same: bool) -> None:
    with torch.no_grad():
        logits = (PADDED if same else EACH)[which](torch.randn(1, 3, height, width))
    assert logits.shape == (1, 5, height, width)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(32, 2048), (2048, 32), (33, 1025), (1, 1), (2, 300), (31, 33)])
@pytest.mark.parametrize("head", HEADS)
def test_awkward_sizes_come_back_exact(head: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = EACH["lraspp_mobilenet_v3_small", head](torch.randn(1, 3, *size))
    assert logits.shape == (1, 5, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_logits_are_the_heads_scores_resized(head: str, lived: Lived) -> None:
    model = lived(segmenter(head).double())
    assert isinstance(model, Segmenter)
    x = torch.randn(2, 3, 75, 101, dtype=torch.float64)
    with torch.no_grad():
        high, *skips = model.backbone.taps(x, model.taps)
        scores, logits = model.head(high, skips).numpy(), model(x).numpy()
    wanted = ref.resize(scores, (75, 101), align_corners=head == "official")
    np.testing.assert_allclose(logits, wanted, rtol=1e-9, atol=1e-9)
    assert logits.std() > 0.1


@pytest.mark.parametrize(
    ("name", "head", "taps"),
    [
        ("large", "lraspp", ["blocks.5.depthwise"]),  # layer_7/depthwise_output of the authors' code
        ("small", "lraspp", ["blocks.2.depthwise"]),  # layer_4/depthwise_output
        ("large", "official", ["blocks.5.depthwise"]),
        ("small", "official", ["blocks.2.depthwise"]),
        ("large", "seed", ["blocks.3"]),
        ("small", "seed", ["blocks.1"]),
        ("large", "torchvision", ["blocks.3"]),  # the 40-wide output of the first 1/8 block
        ("small", "torchvision", ["blocks.1"]),
        ("large", "fastseg", ["blocks.2", "blocks.0"]),
        ("small", "fastseg", ["blocks.0", "stem"]),
        ("large", "raspp", []),
    ],
)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_the_skips_are_the_same_blocks_at_every_output_stride(
    name: str, head: str, taps: list[str], output_stride: int
) -> None:
    """Atrous convolution puts deeper blocks on the 1/8 grid; they are not what the heads mean."""
    model = segmenter(head, f"lraspp_mobilenet_v3_{name}", output_stride=output_stride)
    assert model.taps == ("last", *taps)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "raspp"])  # see test_raspp
def test_a_batch_of_one_small_picture_trains(head: str) -> None:
    torch.manual_seed(0)
    model = segmenter(head, dropout=0.0).train()
    x, target = torch.randn(1, 3, 64, 64), torch.randint(0, 5, (1, 64, 64))
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


@pytest.mark.parametrize("head", HEADS)
def test_options_reach_each_head(head: str) -> None:
    model = segmenter(head, in_channels=1, num_classes=2, head_channels=24, dropout=0.4)
    assert model.head.features.conv.out_channels == 24
    assert model.head.dropout.p == 0.4
    with torch.no_grad():
        assert model(torch.randn(1, 1, 33, 40)).shape == (1, 2, 33, 40)
        model.head.dropout.train()
        x = torch.randn(1, 1, 33, 40)
        assert not torch.equal(model(x), model(x))
