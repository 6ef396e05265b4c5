"""Masks by the compiled kernels, of every instruction set that runs here, equal numpy's to the bit."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hswish.runtime import mask_at_size, postprocess
from tests.runtime.native.conftest import unaligned

KERNELS = Path(__file__).parents[3] / "native" / "masks.h"

repeated = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 70)


def in_numpy(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of an install without a compiler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "is_present", lambda: False)
        return mask_at_size(logits, size)


def test_every_kernel_in_the_list_is_here() -> None:
    listed = re.findall(r"\(\*(\w+)\)", KERNELS.read_text(encoding="utf-8"))
    assert len(listed) == 2
    code = Path(__file__).read_text(encoding="utf-8")
    assert all(f"engine.kernels.{name}(" in code for name in listed)


@repeated
@given(low=sides, full=st.integers(1, 300), at=st.integers(0, 5), seed=seeds)
def test_lines_are_widened(engine: ModuleType, level: str, low: int, full: int, at: int, seed: int) -> None:
    line = unaligned(np.random.default_rng(seed).normal(size=low).astype(np.float32), at)
    first, second, weight = postprocess._neighbours(low, full)
    out = unaligned(np.zeros(full, np.float32), at)
    engine.kernels.widen(level, line, first.astype(np.int32), second.astype(np.int32), weight, out)
    np.testing.assert_array_equal(out, line[first] * (1 - weight) + line[second] * weight)


@repeated
@given(classes=st.integers(1, 255), width=sides, weight=st.floats(0, 1, width=32), few=st.booleans(), seed=seeds)
def test_the_highest_class_and_of_equals_the_first(
    engine: ModuleType, level: str, classes: int, width: int, weight: float, few: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    top, bottom = (rng.normal(size=(classes, width)).astype(np.float32) for _ in range(2))
    if few:  # different values, so that many are equal; below 0 as well
        top, bottom = np.round(top) - 3, np.round(bottom) - 3
    out = np.full(width, 77, np.uint8)
    engine.kernels.highest(level, top, bottom, weight, out)
    scores = top * (np.float32(1) - np.float32(weight)) + bottom * np.float32(weight)
    np.testing.assert_array_equal(out, scores.argmax(0))


@repeated
@given(
    classes=st.integers(1, 21),
    low=st.tuples(sides, sides),
    size=st.tuples(sides, sides),
    last=st.booleans(),
    seed=seeds,
)
def test_masks_of_any_size(
    level: str, classes: int, low: tuple[int, int], size: tuple[int, int], last: bool, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, *low)).astype(np.float32)
    given_logits = np.ascontiguousarray(logits.transpose(1, 2, 0)).transpose(2, 0, 1) if last else logits
    np.testing.assert_array_equal(mask_at_size(given_logits, size), in_numpy(logits, size))


def test_masks_of_pictures_larger_than_a_strip(level: str) -> None:
    logits = np.random.default_rng(1).normal(size=(19, 64, 128)).astype(np.float32)
    for size in ((700, 901), (64, 128), (31, 2000)):
        np.testing.assert_array_equal(mask_at_size(logits, size), in_numpy(logits, size))
    wide = np.random.default_rng(2).normal(size=(300, 500, 3)).astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(mask_at_size(wide, (400, 600)), in_numpy(wide, (400, 600)))


@pytest.mark.parametrize(
    ("top", "left", "message"),
    [
        ([0, 2], [0, 1], "looks past"),
        ([1, 0], [0, 1], "one end"),
        ([0, 1], [0, -1], "looks past"),
        ([0], [0, 1], "lengths"),
    ],
)
def test_what_would_read_elsewhere_is_refused(engine: ModuleType, top: list, left: list, message: str) -> None:
    logits, half = np.zeros((3, 2, 2), np.float32), np.full(2, 0.5, np.float32)
    places = [np.array(cells, np.int32) for cells in (top, top, left, left)]
    with pytest.raises(ValueError, match=message):
        engine.fill_mask(
            "generic", logits, *places[:2], half[: len(top)], *places[2:], half, np.zeros((2, 2), np.uint8)
        )
