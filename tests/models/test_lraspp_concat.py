"""Lite R-ASPP with two concatenated skips (fastseg) against the reference, at any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hswish.models import create_model
from hswish.models.segmenter import Segmenter
from tests.models.heads import HeadPair

PAIR = HeadPair("fastseg", output_stride=8)
sides = st.integers(1, 70)


@settings(max_examples=40)
@given(height=sides, width=sides, quarter=st.tuples(sides, sides), half=st.tuples(sides, sides))
def test_the_head_is_the_reference(height: int, width: int, quarter: tuple[int, int], half: tuple[int, int]) -> None:
    """On maps smaller and larger than the window of 49; the logits have the 1/2 map's size."""
    inputs = PAIR.inputs((height, width), quarter, half, seed=height)
    computed = PAIR.computed(*inputs)
    assert computed.shape == (2, 5, *half)
    np.testing.assert_allclose(computed, PAIR.wanted(*inputs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "taps", "channels"),
    [
        ("large", ("last", "blocks.2", "blocks.0"), (24, 16)),  # facts of ekzhang/fastseg: 24 at 1/4, 16 at 1/2
        ("small", ("last", "blocks.0", "stem"), (16, 16)),
    ],
)
def test_the_skips_and_widths_are_fastsegs(size: str, taps: tuple[str, ...], channels: tuple[int, int]) -> None:
    model = create_model(f"lraspp_mobilenet_v3_{size}", head="fastseg")
    assert isinstance(model, Segmenter)
    assert model.taps == taps
    head = model.head
    assert (head.skip_4.in_channels, head.skip_2.in_channels) == channels
    assert (head.skip_4.out_channels, head.skip_2.out_channels) == (64, 32)
    assert (head.gate.bias, head.skip_4.bias, head.skip_2.bias) == (None, None, None)
    assert isinstance(head.sigmoid, nn.Sigmoid)


@pytest.mark.parametrize(
    ("size", "width", "millions"),
    [("large", 256, 3.69), ("large", 128, 3.28), ("small", 256, 1.45), ("small", 128, 1.14), ("small", 64, 1.02)],
)
def test_parameters_are_fastsegs(size: str, width: int, millions: float) -> None:
    model = create_model(f"lraspp_mobilenet_v3_{size}", head="fastseg", head_channels=width)
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6, 2) == millions
