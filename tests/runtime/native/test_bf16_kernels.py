"""Every kernel for maps of bfloat16 against plain numpy in float64, which rounds in the same places.

Inputs and weights are halves to begin with. What comes out must lie between the halves nearest to the ends of the
interval that float32 sums may reach: the right half, or one of two neighbours where the sum is near their middle.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.native import reference as ref
from tests.runtime.native.conftest import BF16_LEVELS, kernels_in, unaligned
from tests.runtime.native.test_kernels import (
    RELATIVE,
    acts,
    block_sizes,
    close,
    drawn,
    eights,
    offsets,
    real_acts,
    seeds,
    stem_sizes,
    windows,
)

repeated = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

pytestmark = pytest.mark.skipif(not BF16_LEVELS, reason="this processor does not multiply bfloat16")


@pytest.fixture(params=BF16_LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def drawn_halves(seed: int, offset: int, *shape: int) -> np.ndarray:
    return unaligned(ref.halves(drawn(seed, 0, *shape)), offset)


def room(offset: int, *shape: int) -> np.ndarray:
    return unaligned(np.zeros(shape, np.uint16), offset)


def rounded(x: np.ndarray) -> np.ndarray:
    return ref.widened(ref.halves(x))


def close_halves(found: np.ndarray, wanted: np.ndarray, size: np.ndarray | float) -> None:
    """`size`: the magnitude of what was summed."""
    value, slack = ref.widened(found), RELATIVE * np.asarray(size) + 1e-37
    assert np.isfinite(value).all()
    assert (rounded(wanted - slack) <= value).all()
    assert (value <= rounded(wanted + slack)).all()


def test_every_kernel_in_the_list_is_here(engine: ModuleType) -> None:
    listed = kernels_in("MapKernels", "Bf16Kernels")
    assert len(listed) == 13
    sizes = {"block_work": "block_rows", "stem_work": "stem_row"}  # of the work memory: wrong ones break these
    code = Path(__file__).read_text(encoding="utf-8")
    for name in listed:
        name = sizes.get(name, name)
        assert hasattr(engine.kernels.bf16, name), f"{name} cannot be called by a test"
        assert f"engine.kernels.bf16.{name}(" in code, f"{name} has no test"


def padded(x: np.ndarray) -> np.ndarray:
    """With an even number of channels: what lies in the last must not matter."""
    return np.concatenate([x, np.full((len(x), x.shape[1] % 2), 7, x.dtype)], 1)


@repeated
@given(
    pixels=st.integers(1, 45), k=st.integers(1, 70), n=eights, act=acts, residual=st.booleans(), at=offsets, seed=seeds
)
def test_pointwise(
    engine: ModuleType, level: str, pixels: int, k: int, n: int, act: int, residual: bool, at: int, seed: int
) -> None:
    x, w, b = drawn_halves(seed, 0, pixels, k), drawn(seed + 1, at, n, k), drawn(seed + 2, at, n)
    added = drawn_halves(seed + 3, at, pixels, n) if residual else None
    out, floats = room(at, pixels, n), unaligned(np.zeros((pixels, n), np.float32), at)
    stored = unaligned(padded(x), at)
    engine.kernels.bf16.pointwise(level, stored, w, b, act, out, added)
    engine.kernels.bf16.pointwise_floats(level, stored, w, b, act, floats)
    products = ref.widened(x) @ rounded(w).T + b
    size = np.abs(ref.widened(x)) @ np.abs(w.T) + np.abs(b)
    activated = ref.activate(products, ref.ACTS[act])
    size_activated = size * np.maximum(1, np.abs(size) / 3 if act == 2 else 1)
    close(floats, activated, size_activated)
    if added is None:
        close_halves(out, activated, size_activated)
    else:  # the residual follows a linear projection: the kernel knows no activation beside it
        close_halves(out, products + ref.widened(added), size + np.abs(ref.widened(added)))


@repeated
@given(pixels=st.integers(1, 5), k=st.integers(1, 70), n=eights, act=acts, at=offsets, seed=seeds)
def test_linear(engine: ModuleType, level: str, pixels: int, k: int, n: int, act: int, at: int, seed: int) -> None:
    """Weights in halves, vectors in floats."""
    x, w, b = drawn(seed, 0, pixels, k), drawn(seed + 1, at, n, k), drawn(seed + 2, at, n)
    out = unaligned(np.zeros((pixels, n), np.float32), at)
    engine.kernels.bf16.linear(level, unaligned(padded(x), at), w, b, act, out)
    size = np.abs(x).astype(np.float64) @ np.abs(w.T) + np.abs(b)
    wanted = ref.activate(x.astype(np.float64) @ rounded(w).T + b, ref.ACTS[act])
    close(out, wanted, size * np.maximum(1, size / 3 if act == 2 else 1))


@repeated
@given(sizes=block_sizes(), act=real_acts, after=acts, seed=seeds, at=offsets)
def test_block_rows(
    engine: ModuleType, level: str, sizes: tuple[Any, ...], act: int, after: int, seed: int, at: int
) -> None:
    (height, width, k), channels, kernel, stride, dilation, same, strip, expanded = sizes
    x = drawn_halves(seed, at, height, width, k)
    w, b = drawn(seed + 1, at, channels, k) * np.float32(0.3), drawn(seed + 2, at, channels)
    dw, db = drawn(seed + 3, at, channels, kernel, kernel), drawn(seed + 4, at, channels)
    out, sums = room(at, -(-height // stride), -(-width // stride), channels), np.zeros(channels, np.float32)
    engine.kernels.bf16.block_rows(
        level, x, *((w, b) if expanded else (None, None)), dw, db, act, after, stride, dilation, same, strip, out, sums
    )  # fmt: skip
    rows = ref.widened(x)
    if expanded:  # what is between the convolutions stays in floats
        rows = ref.activate(rows @ rounded(w).T + b, ref.ACTS[act])
    linear = ref.depthwise(rows, dw.astype(np.float64), db, stride, dilation, same)
    wanted = ref.activate(linear, ref.ACTS[after])
    size = ref.depthwise(np.abs(rows) + 1, np.abs(dw).astype(np.float64), np.abs(db), stride, dilation, same)
    size *= np.maximum(1, size / 3) if after == 2 else 1
    close_halves(out, wanted, size)
    close(sums, wanted.sum(axis=(0, 1)), size.sum(axis=(0, 1)))


@repeated
@given(sizes=stem_sizes(), seed=seeds, at=offsets)
def test_stem(engine: ModuleType, level: str, sizes: tuple[Any, ...], seed: int, at: int) -> None:
    height, width, planes, n, stride, same, act = sizes
    x, w, b = drawn(seed, at, planes, height, width), drawn(seed + 1, at, n, planes, 3, 3), drawn(seed + 2, at, n)
    out = room(at, -(-height // stride), -(-width // stride), n)
    engine.kernels.bf16.stem_row(level, x, w, b, act, stride, same, out)
    last = x.transpose(1, 2, 0).astype(np.float64)
    size = ref.conv3x3(np.abs(last), np.abs(w), np.abs(b), stride, same)
    wanted = ref.activate(ref.conv3x3(last, w, b, stride, same), ref.ACTS[act])
    close_halves(out, wanted, size * np.maximum(1, size / 3 if act == 2 else 1))


@repeated
@given(pixels=st.integers(0, 20), channels=eights, act=acts, at=offsets, seed=seeds)
def test_scales(engine: ModuleType, level: str, pixels: int, channels: int, act: int, at: int, seed: int) -> None:
    x, gate = drawn_halves(seed, at, pixels, channels), drawn(seed + 1, at, channels)
    wanted = ref.widened(x) * gate
    engine.kernels.bf16.scale(level, x, gate, act)
    close_halves(x, ref.activate(wanted, ref.ACTS[act]), np.abs(wanted) * np.maximum(1, np.abs(wanted)))
    w, gates = drawn_halves(seed + 2, at, pixels, channels, 2), drawn(seed + 3, at, 2 * pixels)  # pairs of rows
    out = room(at, pixels, channels, 2)
    engine.kernels.bf16.scale_panel(level, out, w, gates)
    np.testing.assert_array_equal(out, ref.halves(ref.widened(w) * gates.reshape(pixels, 1, 2)))


@repeated
@given(window=windows(), channels=eights, at=offsets, seed=seeds)
def test_mean(engine: ModuleType, level: str, window: tuple[int, ...], channels: int, at: int, seed: int) -> None:
    height, width, top, left, rows, columns = window
    x, out = drawn_halves(seed, at, height, width, channels), unaligned(np.zeros(channels, np.float32), at)
    engine.kernels.bf16.mean(level, x, top, left, rows, columns, out)
    seen = ref.widened(x)[top : top + rows, left : left + columns]
    close(out, seen.mean(axis=(0, 1)), np.abs(seen).mean(axis=(0, 1)))


sides, full_sides = st.integers(1, 12), st.sampled_from([1, 2, 5, 8, 13, 16, 24, 31, 40])


@repeated
@given(
    low=st.tuples(sides, sides), full=st.tuples(full_sides, full_sides), channels=eights, corners=st.booleans(),
    at=offsets, seed=seeds,
)  # fmt: skip
def test_an_upsampled_gate(
    engine: ModuleType, level: str, low: tuple[int, int], full: tuple[int, int], channels: int, corners: bool, at: int,
    seed: int,
) -> None:  # fmt: skip
    x, out = drawn(seed, at, *low, channels), drawn_halves(seed + 1, at, *full, channels)
    before = ref.widened(out)
    engine.kernels.bf16.upsample_multiply_row(level, x, corners, out)
    wanted = before * ref.resize(x.astype(np.float64), *full, corners)
    close_halves(out, wanted, (1 + np.abs(before)) * (1 + np.abs(x).max()))


def test_floats_become_the_nearest_halves(engine: ModuleType, level: str) -> None:
    """Every half, what lies between it and the next, and what lies in the middle; infinite and no numbers too."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    x = np.concatenate([upper + low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]).view(np.float32)
    out = np.zeros(len(x), np.uint16)
    engine.kernels.bf16.to_halves(level, x, out)
    normal = np.abs(x) >= 2.0**-126  # the instruction takes what is below for zero
    np.testing.assert_array_equal(out[normal], ref.halves(x)[normal])
    np.testing.assert_array_equal(out[np.abs(x) < 2.0**-126] & 0x7FFF, 0)
    assert np.isnan(ref.widened(out[np.isnan(x)])).all()


def test_multiply_adds_are_counted(engine: ModuleType, level: str) -> None:
    count = engine.kernels.bf16.multiply_adds(level, 100)
    assert count == 2 * engine.kernels.multiply_adds(level, 100) > 0


def test_a_level_without_them(engine: ModuleType) -> None:
    assert not engine.multiplies_halves("generic")
    with pytest.raises(ValueError, match="generic does not multiply halves"):
        engine.kernels.bf16.multiply_adds("generic", 1)
    with pytest.raises(ValueError, match="generic does not multiply halves"):
        engine.Plan("generic", 1, halves=True)
