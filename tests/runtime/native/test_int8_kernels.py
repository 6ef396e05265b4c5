"""Every 8-bit kernel of every instruction set that runs here, against plain numpy: equal to the bit."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.native import int8_reference as ref
from tests.runtime.native.conftest import unaligned

KERNELS = Path(__file__).parents[3] / "native" / "int8_kernels.h"

repeated = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)
offsets = st.integers(0, 5)
acts = st.sampled_from(["none", "relu", "hard_swish"])
real_acts = st.sampled_from(["relu", "hard_swish"])


def drawn_bytes(rng: np.random.Generator, offset: int, *shape: int) -> np.ndarray:
    return unaligned(rng.integers(0, 256, shape, dtype=np.uint8), offset)


def test_every_kernel_in_the_list_is_here(engine: ModuleType) -> None:
    listed = re.findall(r"\(\*(\w+)\)", KERNELS.read_text(encoding="utf-8"))
    assert len(listed) == 9
    code = Path(__file__).read_text(encoding="utf-8")
    for name in listed:
        name = {"int8_block_work": "int8_block_rows"}.get(name, name)  # a wrong size breaks that one
        assert hasattr(engine.kernels, name), f"{name} cannot be called by a test"
        assert f"engine.kernels.{name}(" in code, f"{name} has no test"


@repeated
@given(
    pixels=st.integers(1, 45), k=st.integers(1, 70), n=st.integers(1, 70), act=acts, added=st.booleans(), at=offsets,
    seed=seeds,
)  # fmt: skip
def test_pointwise_bytes(
    engine: ModuleType, int8_level: str, pixels: int, k: int, n: int, act: str, added: bool, at: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    act = "none" if added else act  # the residual follows a linear projection
    x, layer = drawn_bytes(rng, at, pixels, k), ref.drawn_layer(rng, (n, k), act)
    residual, scale, zero = drawn_bytes(rng, at, pixels, n), np.float32(rng.uniform(0.001, 0.1)), 117
    wanted = ref.real(ref.pointwise_sums(x, layer), layer, act)
    if added:
        wanted = wanted + (residual.astype(np.int32) - zero).astype(np.float32) * scale
    wanted = ref.codes(wanted, layer.inverse, layer.zero, layer.low)
    out = ref.padded(np.zeros((pixels, n), np.uint8))
    extra = (ref.padded(residual), float(scale), zero) if added else (None,)
    engine.kernels.pointwise_bytes(int8_level, unaligned(ref.padded(x), at), layer.given(), act, out, *extra)
    np.testing.assert_array_equal(out[:, :n], wanted)


@repeated
@given(pixels=st.integers(1, 30), k=st.integers(1, 70), n=st.integers(1, 40), act=acts, at=offsets, seed=seeds)
def test_pointwise_floats(
    engine: ModuleType, int8_level: str, pixels: int, k: int, n: int, act: str, at: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, layer = drawn_bytes(rng, at, pixels, k), ref.drawn_layer(rng, (n, k), act)
    out = np.zeros((pixels, -(-n // 16) * 16), np.float32)
    engine.kernels.pointwise_floats(int8_level, unaligned(ref.padded(x), at), layer.given(), act, out)
    np.testing.assert_array_equal(out[:, :n], ref.real(ref.pointwise_sums(x, layer), layer, act))


@repeated
@given(
    shape=st.tuples(st.integers(1, 13), st.integers(1, 19), st.sampled_from([8, 16, 24])),
    channels=st.sampled_from([8, 16, 24, 40, 48, 72]), kernel=st.sampled_from([3, 5]),
    step=st.sampled_from([(1, 1), (2, 1), (1, 2), (1, 4)]), same=st.booleans(), strip=st.integers(1, 9),
    expanded=st.booleans(), act=real_acts, at=offsets, seed=seeds,
)  # fmt: skip
def test_int8_block_rows(
    engine: ModuleType, int8_level: str, shape: tuple[int, int, int], channels: int, kernel: int, step: tuple[int, int],
    same: bool, strip: int, expanded: bool, act: str, at: int, seed: int,
) -> None:  # fmt: skip
    rng, (stride, dilation) = np.random.default_rng(seed), step
    x = drawn_bytes(rng, at, *shape[:2], shape[2] if expanded else channels)
    middle, padding, expand = x, int(rng.integers(0, 256)), None
    if expanded:
        expand = ref.drawn_layer(rng, (channels, shape[2]), act)
        sums = ref.pointwise_sums(x.reshape(-1, shape[2]), expand).reshape(*shape[:2], channels)
        middle, padding = ref.codes(ref.real(sums, expand, act), expand.inverse, expand.zero, expand.low), expand.zero
    depthwise = ref.drawn_layer(rng, (channels, kernel, kernel), act)
    sums = ref.windows_sums(middle, depthwise, stride, dilation, same, padding)
    wanted = ref.codes(ref.real(sums, depthwise, act), depthwise.inverse, depthwise.zero, depthwise.low)
    out, totals = ref.padded(np.zeros(wanted.shape, np.uint8)), np.zeros(-(-channels // 16) * 16, np.int32)
    engine.kernels.int8_block_rows(
        int8_level, unaligned(ref.padded(x), at), expand and expand.given(), depthwise.given(), act, stride, dilation,
        same, padding, strip, out, totals,
    )  # fmt: skip
    np.testing.assert_array_equal(out[..., :channels], wanted)
    np.testing.assert_array_equal(totals[:channels], wanted.sum((0, 1), dtype=np.int64))


@repeated
@given(
    columns=st.integers(1, 40), planes=st.sampled_from([1, 3, 4]), n=st.sampled_from([8, 16, 24, 40]),
    stride=st.sampled_from([1, 2]), act=real_acts, seed=seeds,
)  # fmt: skip
def test_int8_stem_row(
    engine: ModuleType, int8_level: str, columns: int, planes: int, n: int, stride: int, act: str, seed: int
) -> None:
    rng, width = np.random.default_rng(seed), (columns - 1) * stride + 3
    rows, layer = drawn_bytes(rng, 0, 3, width, planes), ref.drawn_layer(rng, (n, planes, 3, 3), act)
    windows = np.stack([rows[:, j * stride : j * stride + 3] for j in range(columns)]).astype(np.int64)  # (j, y, x, c)
    sums = np.einsum("jyxc,ncyx->jn", windows, layer.weight.astype(np.int64)) + layer.bias
    wanted = ref.codes(ref.real(sums, layer, act), layer.inverse, layer.zero, layer.low)
    spare = np.concatenate([rows.reshape(3, -1), drawn_bytes(rng, 0, 3, 16)], 1)
    out = ref.padded(np.zeros((columns, n), np.uint8))
    engine.kernels.int8_stem_row(int8_level, spare, layer.given(), act, stride, out)
    np.testing.assert_array_equal(out[:, :n], wanted)


@repeated
@given(pixels=st.integers(1, 30), channels=st.integers(1, 9).map(lambda n: n * 16), at=offsets, seed=seeds)
def test_gate_and_sum_of_bytes(
    engine: ModuleType, int8_level: str, pixels: int, channels: int, at: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, gate = drawn_bytes(rng, at, pixels, channels), unaligned(rng.random(channels, np.float32), at)
    scale, inverse = np.float32(rng.uniform(0.01, 0.05)), np.float32(rng.uniform(20, 200))
    out = np.zeros_like(x)
    engine.kernels.gate_bytes(int8_level, x, gate, (31, float(scale), float(inverse), 12), out)
    product = ((x.astype(np.int32) - 31).astype(np.float32) * gate) * scale
    np.testing.assert_array_equal(out, ref.codes(product, float(inverse), 12))
    sums = np.arange(channels, dtype=np.int32)
    engine.kernels.sum_bytes(int8_level, x, sums)
    np.testing.assert_array_equal(sums, np.arange(channels) + x.sum(0, dtype=np.int64))


@repeated
@given(groups=st.integers(1, 9), at=offsets, seed=seeds)
def test_to_bytes(engine: ModuleType, int8_level: str, groups: int, at: int, seed: int) -> None:
    """Halves go to the even neighbour; far numbers clamp."""
    rng = np.random.default_rng(seed)
    x = unaligned((rng.integers(-300, 600, groups * 16) / 2).astype(np.float32), at)
    x[:4] = [3e38, -3e38, np.inf, -np.inf]
    out = np.zeros(x.shape, np.uint8)
    engine.kernels.to_bytes(int8_level, x, 1.0, 7, out)
    np.testing.assert_array_equal(out, ref.codes(x, 1.0, 7))


@repeated
@given(pixels=st.integers(1, 100), planes=st.sampled_from([1, 3, 4]), at=offsets, seed=seeds)
def test_look_up(engine: ModuleType, int8_level: str, pixels: int, planes: int, at: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, table = drawn_bytes(rng, at, pixels, planes), drawn_bytes(rng, 0, planes, 256)
    out = np.zeros_like(x)
    engine.kernels.look_up(int8_level, x, table, out)
    np.testing.assert_array_equal(out, table[np.arange(planes), x])


def test_what_cannot_be_exact_is_refused(engine: ModuleType, int8_level: str) -> None:
    """Sums beyond 32 bits, scales that would take results beyond what rounding holds."""
    x, out = np.zeros((1, 16), np.uint8), np.zeros((1, 16), np.uint8)
    fine = ref.drawn_layer(np.random.default_rng(0), (16, 16), "none")
    engine.kernels.pointwise_bytes(int8_level, x, fine.given(), "none", out)
    large = np.full(16, 2**31 - 1000, np.int32)
    far = np.full(16, 1e30, np.float32)
    nothing = np.full(16, np.nan, np.float32)
    for bias, scale in ((large, fine.scale), (fine.bias, far), (fine.bias, nothing)):
        bad = ref.Layer(fine.weight, bias, scale, fine.inverse, fine.zero, fine.low)
        with pytest.raises(ValueError, match=r"8-bit|scale"):
            engine.kernels.pointwise_bytes(int8_level, x, bad.given(), "none", out)
