"""R-ASPP against the reference, at any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hswish.models import create_model
from tests.models.heads import HeadPair

PAIR = HeadPair("raspp")


@settings(max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_the_head_is_the_reference(height: int, width: int) -> None:
    inputs = PAIR.inputs((height, width), seed=height)
    computed = PAIR.computed(*inputs)
    assert computed.shape == (2, 5, height, width)
    np.testing.assert_allclose(computed, PAIR.wanted(*inputs), rtol=1e-9, atol=1e-9)


def test_the_pooled_branch_says_the_same_everywhere() -> None:
    """A pixel sees the others through the mean alone: moved about, they change nothing."""
    (high, _), random = PAIR.inputs((6, 7)), np.random.RandomState(1)
    order = random.permutation(42)
    moved = high.reshape(2, -1, 42)[:, :, order].reshape(high.shape)
    computed = PAIR.computed(high, []).reshape(2, 5, 42)[:, :, order]
    np.testing.assert_allclose(PAIR.computed(moved, []).reshape(2, 5, 42), computed, rtol=1e-9, atol=1e-9)
    other = high.copy()
    other[:, :, 0, 0] += 10
    assert np.abs(PAIR.computed(other, []) - PAIR.computed(high, []))[:, :, 1:, 1:].max() > 1e-3


def test_training_needs_two_pictures_for_the_pooled_batch_norm() -> None:
    model = create_model("lraspp_mobilenet_v3_small", head="raspp", width_mult=0.1, num_classes=5).train()
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.randn(1, 3, 64, 64))
