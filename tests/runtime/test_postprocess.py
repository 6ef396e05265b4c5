from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hswish.runtime import check_logits, mask_at_size, postprocess, softmax
from hswish.spec.errors import ModelFileError, OptionError


@pytest.fixture(params=["compiled", "numpy"])
def maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What makes masks: the native engine's kernels, and numpy where an install lacks these."""
    if request.param == "numpy":
        monkeypatch.setattr(postprocess, "is_present", lambda: False)
    elif not postprocess.is_present():
        pytest.skip("this install has no compiled engine: there was no C++ compiler")
    return str(request.param)


def torch_planes(logits: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    planes = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )
    return planes[0]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    classes=st.integers(1, 8),
    low=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 2**32 - 1),
)
def test_mask_equals_torch_up_and_down(maker: str, classes: int, low: tuple, size: tuple, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, *low)).astype(np.float32)
    mask = mask_at_size(logits, size)
    planes = torch_planes(logits, size)
    assert mask.shape == size
    assert mask.dtype == np.uint8
    chosen = planes.gather(0, torch.from_numpy(mask.astype(np.int64))[None])[0]
    assert torch.all(chosen >= planes.amax(0) - 1e-5)  # ties aside, the class torch would choose
    assert (mask == planes.argmax(0).numpy()).mean() > 0.99


@pytest.mark.parametrize("size", [(1000, 1500), (37, 3001), (3001, 37)])
def test_mask_equals_torch_across_strips(maker: str, size: tuple[int, int]) -> None:
    logits = np.random.default_rng(3).normal(size=(5, 33, 47)).astype(np.float32)
    assert (mask_at_size(logits, size) == torch_planes(logits, size).argmax(0).numpy()).mean() > 0.99999


def test_same_size_is_a_plain_argmax_and_the_first_of_equals_wins(maker: str) -> None:
    logits = np.random.default_rng(0).normal(size=(7, 9, 11)).astype(np.float32)
    assert np.array_equal(mask_at_size(logits, (9, 11)), logits.argmax(0))
    assert not mask_at_size(np.zeros((4, 5, 5), np.float32), (50, 50)).any()


def test_huge_masks_need_little_memory_and_time(maker: str) -> None:
    logits = np.random.default_rng(0).normal(size=(19, 64, 128)).astype(np.float32)
    tracemalloc.start()
    start = time.perf_counter()
    mask = mask_at_size(logits, (2048, 4096))  # as floats at full size: 640 MB
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - mask.nbytes < 64 * 2**20
    assert seconds < 10


def test_mask_refuses_what_bytes_cannot_hold() -> None:
    with pytest.raises(OptionError, match="255 classes"):
        mask_at_size(np.zeros((256, 2, 2), np.float32), (4, 4))
    with pytest.raises(OptionError, match="at least one pixel"):
        mask_at_size(np.zeros((2, 2, 2), np.float32), (0, 4))


def test_softmax_equals_torch_and_bears_large_logits() -> None:
    logits = np.random.default_rng(1).normal(scale=50, size=(20, 1000)).astype(np.float32)
    logits[0, 0] = 1e30
    expected = torch.softmax(torch.from_numpy(logits).double(), 1).numpy()
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-6)
    np.testing.assert_allclose(softmax(logits).sum(1), 1, atol=1e-5)


def test_logits_are_checked_against_the_description(colour_engine) -> None:
    description = colour_engine("classification").description
    assert check_logits(np.zeros((2, 4), np.float64), description, 2).dtype == np.float32
    for wrong in (np.zeros((2, 5)), np.zeros((1, 4)), np.zeros((2, 4, 8, 8))):
        with pytest.raises(ModelFileError, match="contradicts itself"):
            check_logits(wrong, description, 2)
    with pytest.raises(ModelFileError, match="not finite"):
        check_logits(np.full((2, 4), np.nan), description, 2)
