"""Every kernel of every instruction set that runs here, against plain numpy in float64."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.native import reference as ref
from tests.runtime.native.conftest import kernels_in, unaligned

RELATIVE = 1e-5
"""of the sum of the magnitudes that a number is made of"""

repeated = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)
offsets = st.integers(0, 5)
eights = st.sampled_from([8, 16, 24, 32, 40, 56, 64, 72, 96])
acts = st.sampled_from(range(3))
real_acts = st.sampled_from([1, 2])


@st.composite
def block_sizes(draw: st.DrawFn) -> tuple[tuple[int, int, int], int, int, int, int, bool, int, bool]:
    """Of a block, as `check_block` takes them: shape, channels, kernel, stride, dilation, same, strip, expanded."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    kernel, channels, expanded = draw(st.sampled_from([3, 5])), draw(eights), draw(st.booleans())
    stride, dilation = draw(st.sampled_from([(1, 1), (2, 1), (1, 2), (1, 4)]))
    same, strip = draw(st.booleans()), draw(st.integers(1, 40))
    k = draw(st.sampled_from([8, 16, 24])) if expanded else channels
    return (height, width, k), channels, kernel, stride, dilation, same, strip, expanded


@st.composite
def stem_sizes(draw: st.DrawFn) -> tuple[int, int, int, int, int, bool, int]:
    """Of a stem: height, width, planes, channels out, stride, same, activation."""
    height, width, planes = draw(st.integers(1, 33)), draw(st.integers(1, 33)), draw(st.sampled_from([1, 2, 3, 5, 70]))
    return height, width, planes, draw(eights), draw(st.sampled_from([1, 2])), draw(st.booleans()), draw(real_acts)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, int, int, int, int]:
    """Of a map: height, width; of a window in it: top, left, rows, columns."""
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return height, width, top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left))


def drawn(seed: int, offset: int, *shape: int) -> np.ndarray:
    return unaligned(np.random.default_rng(seed).normal(size=shape).astype(np.float32), offset)


def close(found: np.ndarray, wanted: np.ndarray, size: np.ndarray | float) -> None:
    """`size`: the magnitude of what was summed."""
    error = np.abs(found - wanted) / (np.asarray(size) + 1e-30)
    assert np.isfinite(found).all()
    assert error.max(initial=0) < RELATIVE, f"{error.max():.2e} of the magnitude, at {np.argmax(error)}"


def test_every_kernel_in_the_list_is_here(engine: ModuleType) -> None:
    listed = kernels_in("MapKernels", "Kernels")
    assert len(listed) == 14
    sizes = {"block_work": "block_rows", "stem_work": "stem_row"}  # of the work memory: wrong ones break these
    code = Path(__file__).read_text(encoding="utf-8")
    for name in listed:
        name = sizes.get(name, name)
        assert hasattr(engine.kernels, name), f"{name} cannot be called by a test"
        assert f"engine.kernels.{name}(" in code, f"{name} has no test"


@repeated
@given(
    pixels=st.integers(1, 45), k=st.integers(1, 70), n=eights, act=acts, residual=st.booleans(), at=offsets, seed=seeds
)
def test_pointwise(
    engine: ModuleType, level: str, pixels: int, k: int, n: int, act: int, residual: bool, at: int, seed: int
) -> None:
    x, w, b = drawn(seed, at, pixels, k), drawn(seed + 1, at, n, k), drawn(seed + 2, at, n)
    added = drawn(seed + 3, at, pixels, n) if residual else None
    out = unaligned(np.zeros((pixels, n), np.float32), at)
    engine.kernels.pointwise(level, x, w, b, act, out, added)
    wanted = x.astype(np.float64) @ w.T.astype(np.float64) + b
    # The residual follows a linear projection: the kernel knows no activation beside it.
    wanted = wanted + added if added is not None else ref.activate(wanted, ref.ACTS[act])
    size = np.abs(x) @ np.abs(w.T) + np.abs(b) + (0 if added is None else np.abs(added))
    close(out, wanted, size * np.maximum(1, np.abs(size) / 3 if act == 2 else 1))


def check_block(
    engine: ModuleType, level: str, shape: tuple[int, int, int], channels: int, kernel: int, stride: int, dilation: int,
    same: bool, strip: int, expanded: bool, acts: tuple[int, int], seed: int, at: int,
) -> None:  # fmt: skip
    """Expansion (or none) and depthwise convolution of a map of `shape` (H, W, C), `strip` rows at a time."""
    height, width, k = shape
    x, w, b = drawn(seed, at, *shape), drawn(seed + 1, at, channels, k) * 0.3, drawn(seed + 2, at, channels)
    dw, db = drawn(seed + 3, at, channels, kernel, kernel), drawn(seed + 4, at, channels)
    out = unaligned(np.zeros((-(-height // stride), -(-width // stride), channels), np.float32), at)
    sums = np.zeros(channels, np.float32)
    engine.kernels.block_rows(
        level, x, *((w, b) if expanded else (None, None)), dw, db, *acts, stride, dilation, same, strip, out, sums
    )  # fmt: skip
    rows = x.astype(np.float64)
    if expanded:
        rows = ref.activate(rows @ w.T.astype(np.float64) + b, ref.ACTS[acts[0]])
    linear = ref.depthwise(rows, dw.astype(np.float64), db, stride, dilation, same)
    wanted = ref.activate(linear, ref.ACTS[acts[1]])
    size = ref.depthwise(np.abs(rows) + 1, np.abs(dw).astype(np.float64), np.abs(db), stride, dilation, same)
    size *= np.maximum(1, size / 3) if acts[1] == 2 else 1
    close(out, wanted, size)
    close(sums, wanted.sum(axis=(0, 1)), size.sum(axis=(0, 1)))


@repeated
@given(sizes=block_sizes(), both=st.tuples(real_acts, acts), seed=seeds, at=offsets)
def test_block_rows(
    engine: ModuleType, level: str, sizes: tuple[Any, ...], both: tuple[int, int], seed: int, at: int
) -> None:
    check_block(engine, level, *sizes, both, seed, at)


def test_a_narrow_last_panel_may_need_the_larger_buffer(engine: ModuleType, level: str) -> None:
    """88 = 32 + 32 + 24 channels: the strips of the last panel have more rows."""
    check_block(engine, level, (32, 32, 16), 88, 3, 1, 1, False, 32, True, (1, 1), 0, 0)


@repeated
@given(sizes=stem_sizes(), seed=seeds, at=offsets)
def test_stem(engine: ModuleType, level: str, sizes: tuple[Any, ...], seed: int, at: int) -> None:
    height, width, planes, n, stride, same, act = sizes
    w, b = drawn(seed, at, n, planes, 3, 3), drawn(seed + 1, at, n)
    shape = (-(-height // stride), -(-width // stride), n)
    bytes_in = unaligned(np.random.default_rng(seed).integers(0, 256, (height, width, planes), np.uint8), at)
    table = drawn(seed + 2, at, planes, 256)
    x = np.ascontiguousarray(np.take_along_axis(table, bytes_in.reshape(-1, planes).T.astype(int), 1))
    x = unaligned(x.reshape(planes, height, width), at)
    from_floats, from_bytes = (unaligned(np.zeros(shape, np.float32), at) for _ in range(2))
    engine.kernels.stem_row(level, x, w, b, act, stride, same, from_floats)
    engine.kernels.stem_row_bytes(level, bytes_in, table, w, b, act, stride, same, from_bytes)
    np.testing.assert_array_equal(from_bytes, from_floats)
    last = x.transpose(1, 2, 0).astype(np.float64)
    size = ref.conv3x3(np.abs(last), np.abs(w), np.abs(b), stride, same)
    wanted = ref.activate(ref.conv3x3(last, w, b, stride, same), ref.ACTS[act])
    close(from_floats, wanted, size * np.maximum(1, size / 3 if act == 2 else 1))


@repeated
@given(pixels=st.integers(0, 20), channels=eights, act=acts, at=offsets, seed=seeds)
def test_scales(engine: ModuleType, level: str, pixels: int, channels: int, act: int, at: int, seed: int) -> None:
    x, gate = drawn(seed, at, pixels, channels), drawn(seed + 1, at, channels)
    wanted = x.astype(np.float64) * gate
    size = np.abs(wanted) * np.maximum(1, np.abs(wanted))
    engine.kernels.scale(level, x, gate, act)
    close(x, ref.activate(wanted, ref.ACTS[act]), size)
    w, row_gate = drawn(seed + 2, at, pixels, channels, 1), drawn(seed + 3, at, pixels)
    out = unaligned(np.zeros_like(w), at)
    engine.kernels.scale_panel(level, out, w, row_gate)
    np.testing.assert_array_equal(out, w * row_gate[:, None, None])


@repeated
@given(window=windows(), channels=eights, at=offsets, seed=seeds)
def test_mean(engine: ModuleType, level: str, window: tuple[int, ...], channels: int, at: int, seed: int) -> None:
    height, width, top, left, rows, columns = window
    x, out = drawn(seed, at, height, width, channels), unaligned(np.zeros(channels, np.float32), at)
    engine.kernels.mean(level, x, top, left, rows, columns, out)
    seen = x[top : top + rows, left : left + columns].astype(np.float64)
    close(out, seen.mean(axis=(0, 1)), np.abs(seen).mean(axis=(0, 1)))


def test_a_mean_of_many_pixels_keeps_its_digits(engine: ModuleType, level: str) -> None:
    x = np.full((1000, 1000, 8), 1.1, np.float32)
    out = np.zeros(8, np.float32)
    engine.kernels.mean(level, x, 0, 0, 1000, 1000, out)
    close(out, np.full(8, np.float64(np.float32(1.1))), 1.1)


@repeated
@given(count=st.integers(0, 9), at=offsets, seed=seeds)
def test_h_sigmoid(engine: ModuleType, level: str, count: int, at: int, seed: int) -> None:
    x = drawn(seed, at, 8 * count) * 4
    x[: 2 * count] = np.resize([-3, 3, 0, 1e30], 2 * count)
    wanted = ref.h_sigmoid(x.astype(np.float64))
    engine.kernels.h_sigmoid(level, x)
    close(x, wanted, 1)


sides = st.integers(1, 12)
full_sides = st.sampled_from([1, 2, 5, 8, 13, 16, 24, 31, 40])


@repeated
@given(
    low=st.tuples(sides, sides),
    full=st.tuples(full_sides, full_sides),
    channels=eights,
    data=st.data(),
    at=offsets,
    seed=seeds,
)
def test_upsampled_maps_meet(
    engine: ModuleType, level: str, low: Any, full: Any, channels: int, data: st.DataObject, at: int, seed: int
) -> None:
    corners, multiply, act = data.draw(st.booleans()), data.draw(st.booleans()), data.draw(st.sampled_from([0, 1]))
    x, out = drawn(seed, at, *low, channels), drawn(seed + 1, at, *full, channels)
    before = out.astype(np.float64)
    resized = ref.resize(x.astype(np.float64), *full, corners)
    if multiply:
        engine.kernels.upsample_multiply_row(level, x, corners, out)
    else:
        engine.kernels.upsample_add_row(level, x, corners, act, out)
    wanted = before * resized if multiply else ref.activate(before + resized, ref.ACTS[act])
    close(out, wanted, (1 + np.abs(before)) * (1 + np.abs(x).max()))


@repeated
@given(
    low=st.tuples(sides, sides),
    full=st.tuples(full_sides, full_sides),
    used=st.integers(1, 24),
    corners=st.booleans(),
    at=offsets,
    seed=seeds,
)
def test_upsampled_scores(
    engine: ModuleType, level: str, low: Any, full: Any, used: int, corners: bool, at: int, seed: int
) -> None:
    x = drawn(seed, at, *low, -(-used // 8) * 8)
    planes, mask = unaligned(np.zeros((used, *full), np.float32), at), np.full(full, 99, np.uint8)
    engine.kernels.upsample_planes_row(level, x, corners, planes)
    engine.kernels.upsample_mask_row(level, x, used, corners, mask)
    wanted = ref.resize(x[..., :used].astype(np.float64), *full, corners).transpose(2, 0, 1)
    close(planes, wanted, 1 + np.abs(x).max())
    np.testing.assert_array_equal(mask, planes.argmax(0))


@pytest.mark.parametrize(("full", "at"), [((512, 512), 0), ((512, 512), 1), ((500, 530), 0)])
def test_scores_larger_than_the_caches(engine: ModuleType, level: str, full: tuple[int, int], at: int) -> None:
    used, compared = 17, [0, 8, 16]  # 17 MB and more, which go past the caches where they are whole lines
    x = drawn(0, 0, 7, 9, 24)
    planes = unaligned(np.zeros((used, *full), np.float32), at)
    engine.kernels.upsample_planes_row(level, x, False, planes)
    wanted = ref.resize(x[..., compared].astype(np.float64), *full, False).transpose(2, 0, 1)
    close(planes[compared], wanted, 1 + np.abs(x).max())


def test_multiply_adds_are_counted(engine: ModuleType, level: str) -> None:
    assert engine.kernels.multiply_adds(level, 1000) == 10 * engine.kernels.multiply_adds(level, 100) > 0
