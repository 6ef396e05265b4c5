"""Bands of rows multiplied by their weights are what torch's bilinear enlargement makes of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hswish.export.bands import bands


@given(rows=st.integers(1, 40), factor=st.integers(2, 16), seed=st.integers(0, 99))
def test_torchs_own(rows: int, factor: int, seed: int) -> None:
    found = bands(rows, rows * factor)
    assert found is not None
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    made = (found.weight @ x[found.rows]).reshape(rows * factor, 3)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x).double()[None, None], (rows * factor, 3), mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize(("rows", "enlarged"), [(45, 359), (45, 45), (45, 20), (3, 4)])
def test_only_by_whole_factors(rows: int, enlarged: int) -> None:
    assert bands(rows, enlarged) is None
