"""Every training kernel of every instruction set that runs here, against torch in float64."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.runtime.native.conftest import TRAINING_LEVELS

KERNELS = Path(__file__).parents[3] / "native" / "training" / "kernels.h"
ROUNDING = {torch.float32: 3e-6, torch.bfloat16: 2.0**-7}
"""of the largest number; bfloat16 keeps 8 bits"""

repeated = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=TRAINING_LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    """Each instruction set with training kernels of its own that runs here."""
    return str(request.param)


types = st.sampled_from(list(ROUNDING))
eights = st.sampled_from([8, 16, 24, 40, 56, 72])
seeds = st.integers(0, 2**32 - 1)
threads = st.sampled_from([1, 3])


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def maps(x: Tensor) -> Tensor:
    """(N, H, W, C) as torch's (N, C, H, W) in float64."""
    return x.double().permute(0, 3, 1, 2)


def close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    assert torch.isfinite(found).all()
    largest = wanted.abs().max().clamp(min=1e-3)
    assert ((found.double() - wanted).abs().max() / largest).item() < ROUNDING[dtype]


def test_every_kernel_in_the_list_is_here(engine: ModuleType) -> None:
    listed = [name for name in re.findall(r"\(\*(\w+)\)", KERNELS.read_text(encoding="utf-8")) if name != "run"]
    assert listed.pop(0) == "call"
    assert len(listed) == 10
    code = Path(__file__).read_text(encoding="utf-8")
    for name in listed:
        assert hasattr(engine.TrainingKernels, name)
        assert f"kernels.{name}(" in code, f"{name} has no test"


@repeated
@given(
    pictures=st.sampled_from([2, 40, 150]), channels=eights, height=st.integers(1, 40), width=st.integers(1, 40),
    kernel=st.sampled_from([3, 5]), stride=st.sampled_from([1, 2]), dilation=st.sampled_from([1, 2, 4]),
    padded=st.booleans(), dtype=types, count=threads, seed=seeds,
)  # fmt: skip
def test_depthwise(
    engine: ModuleType, level: str, pictures: int, channels: int, height: int, width: int, kernel: int, stride: int,
    dilation: int, padded: bool, dtype: torch.dtype, count: int, seed: int,
) -> None:  # fmt: skip
    """Forward and both gradients; few pictures and many, which threads share out in another way.

    Without padding the map has to hold the window.
    """
    if pictures > 2:
        height, width = height % 7 + 1, width % 7 + 1
    dilation = 1 if stride == 2 else dilation
    reach = (kernel - 1) * dilation
    padding = reach // 2 if padded else 0
    height, width = height + (0 if padded else reach), width + (0 if padded else reach)
    window = {"stride": stride, "dilation": dilation, "padding": padding}
    shape = (pictures, height, width, channels)
    check_depthwise(engine.TrainingKernels(level, count), shape, kernel, window, dtype, seed)


@pytest.mark.parametrize("width", [20, 200, 400])  # four, two and one panel of 16 channels at once
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_of_many_channels(engine: ModuleType, level: str, width: int, kernel: int, stride: int) -> None:
    """Ten panels of 16 and half of one, of maps that take several strips, and of more pictures than one task has."""
    window = {"stride": stride, "dilation": 1, "padding": kernel // 2}
    for pictures, height in ((1, 19), (33, 2)):
        shape = (pictures, height, width, 168)
        check_depthwise(engine.TrainingKernels(level, 3), shape, kernel, window, torch.float32, width)


def check_depthwise(
    kernels: Any, shape: tuple[int, ...], kernel: int, window: dict[str, int], dtype: torch.dtype, seed: int
) -> None:
    """Forward and both gradients of maps of a shape (N, H, W, C), against torch's."""
    channels = shape[-1]
    x, w = drawn(seed, *shape, dtype=dtype), drawn(seed + 1, channels, kernel, kernel)
    reference_x, reference_w = maps(x).requires_grad_(), w.double()[:, None].requires_grad_()
    wanted = F.conv2d(reference_x, reference_w, groups=channels, **window)
    out = torch.empty(wanted.permute(0, 2, 3, 1).shape, dtype=dtype)
    kernels.depthwise(x, w, out, **window)
    close(maps(out), wanted, dtype)

    gradient = drawn(seed + 2, *out.shape, dtype=dtype)
    of_x, of_w = torch.autograd.grad(wanted, (reference_x, reference_w), maps(gradient))
    made_x, made_w = torch.empty_like(x), torch.empty_like(w)
    kernels.depthwise_input(gradient, w, made_x, **window)
    close(maps(made_x), of_x, dtype)
    kernels.depthwise_weights(gradient, x, made_w, **window)
    close(made_w, of_w[:, 0], torch.float32)


@repeated
@given(
    rows=st.integers(1, 300), channels=eights, act=st.sampled_from([0, 1, 2]), dtype=types, count=threads, seed=seeds
)
def test_batch_norm_and_non_linearity(
    engine: ModuleType, level: str, rows: int, channels: int, act: int, dtype: torch.dtype, count: int, seed: int
) -> None:
    kernels = engine.TrainingKernels(level, count)
    x, gradient = (drawn(seed + at, 1, rows, 1, channels, dtype=dtype) for at in range(2))
    scale, shift, slope, offset = (drawn(seed + at, channels) for at in range(2, 6))
    shift = shift * 3  # beyond the knees of h-swish
    sums = torch.full((2, channels), torch.nan, dtype=torch.float64)
    kernels.moments(x, sums)
    wide = x.double().reshape(rows, channels)
    for found, wanted in zip(sums, (wide.sum(0), wide.square().sum(0)), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * rows)

    z = (wide * scale.double() + shift.double()).requires_grad_()
    y = (z * 1.0, F.relu(z), F.hardswish(z))[act]
    out = torch.empty_like(x)
    kernels.affine(x, scale, shift, act, out)
    close(out.reshape(rows, channels), y, dtype)

    (g,) = torch.autograd.grad(y, z, gradient.double().reshape(rows, channels))
    kernels.affine_sums(gradient, x, scale, shift, act, sums)
    for found, wanted in zip(sums, (g.sum(0), (g * wide).sum(0)), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-4 * rows**0.5)
    kernels.affine_input(gradient, x, scale, shift, act, slope, offset, out)
    close(out.reshape(rows, channels), scale.double() * g + slope.double() * wide + offset.double(), dtype)


@repeated
@given(
    pictures=st.integers(1, 5), height=st.integers(1, 20), width=st.integers(1, 20), channels=eights, dtype=types,
    count=threads, seed=seeds,
)  # fmt: skip
def test_squeeze_and_excitation(
    engine: ModuleType, level: str, pictures: int, height: int, width: int, channels: int, dtype: torch.dtype,
    count: int, seed: int,
) -> None:  # fmt: skip
    kernels = engine.TrainingKernels(level, count)
    x, gradient = (drawn(seed + at, pictures, height, width, channels, dtype=dtype) for at in range(2))
    gates, offsets = (drawn(seed + at, pictures, channels) for at in range(2, 4))
    sums, products, out = torch.empty_like(gates), torch.empty_like(gates), torch.empty_like(x)
    kernels.picture_sums(x, sums)
    kernels.picture_products(gradient, x, products)
    for found, wanted in ((sums, x.double()), (products, x.double() * gradient.double())):
        assert torch.allclose(found.double(), wanted.sum((1, 2)), rtol=1e-5, atol=1e-5 * height * width)
    kernels.gate(x, gates, offsets, out)
    close(out, x.double() * gates.double()[:, None, None] + offsets.double()[:, None, None], dtype)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_the_number_of_threads_changes_no_bit(engine: ModuleType, level: str, dtype: torch.dtype, few: bool) -> None:
    pictures = 5 if few else 130
    x, gradient = (drawn(seed, pictures, *((33, 20) if few else (4, 5)), 40, dtype=dtype) for seed in range(2))
    found = []
    for count in (1, 2, 7):
        kernels = engine.TrainingKernels(level, count)
        weights, sums = torch.empty(40, 5, 5), torch.empty(2, 40, dtype=torch.float64)
        kernels.depthwise_weights(gradient, x, weights, stride=1, dilation=1, padding=2)
        kernels.moments(x, sums)
        means = torch.empty(pictures, 40)
        kernels.picture_products(gradient, x, means)
        found.append((weights, sums, means))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_what_is_no_number_stays_so(engine: ModuleType, level: str) -> None:
    kernels = engine.TrainingKernels(level, 1)
    for dtype in ROUNDING:
        x = torch.full((1, 1, 1, 8), torch.nan, dtype=dtype)
        for act in range(3):
            out = torch.zeros_like(x)
            kernels.affine(x, torch.ones(8), torch.zeros(8), act, out)
            assert out.isnan().all(), (dtype, act)


def test_what_does_not_fit_is_refused(engine: ModuleType) -> None:
    kernels = engine.TrainingKernels("generic", 1)
    x, w = torch.zeros(1, 4, 4, 8), torch.zeros(8, 3, 3)
    window = {"stride": 1, "dilation": 1, "padding": 1}
    for arrays, changed in [
        ((torch.zeros(1, 4, 4, 12), w, x), {}),
        ((x, torch.zeros(8, 4, 4), x), {}),
        ((x, w, torch.zeros(1, 4, 5, 8)), {}),
        ((x, w, x.bfloat16()), {}),
        ((x, w, x), {"stride": 3}),
        ((x, w, x), {"padding": 3}),
        ((x.double(), w, x.double()), {}),
    ]:
        with pytest.raises((ValueError, TypeError)):
            kernels.depthwise(*arrays, **{**window, **changed})
    with pytest.raises(ValueError, match="threads"):
        engine.TrainingKernels("generic", 0)
    with pytest.raises(ValueError, match="no kernels for sse9"):
        engine.TrainingKernels("sse9", 1)
    with pytest.raises(ValueError, match="act is"):
        kernels.affine(x, torch.ones(8), torch.ones(8), 3, x)
    with pytest.raises(ValueError, match="one number a picture and channel"):
        kernels.gate(x, torch.ones(2, 8), torch.zeros(2, 8), x)
    with pytest.raises(ValueError, match="as many results"):
        kernels.gate(x, torch.ones(1, 8), torch.zeros(1, 8), torch.zeros(1, 4, 5, 8))
    with pytest.raises(ValueError, match="as many gradients"):
        kernels.picture_products(torch.zeros(1, 4, 5, 8), x, torch.zeros(1, 8))
    with pytest.raises(ValueError, match="sums are"):
        kernels.moments(x, torch.zeros(2, 7, dtype=torch.float64))
