"""On a grid of pixels: the same logits, and over all grids the same gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from hswish.models.lraspp import upsample
from hswish.spec.errors import OptionError
from hswish.train.losses.masks import Grid, check_strides, upsample_on
from hswish.train.recipe_groups import Loss

sides = st.integers(1, 9)


@given(st.tuples(sides, sides), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 4), st.booleans())
def test_it_is_the_enlarged_map_at_those_pixels(
    small: tuple[int, int], size: tuple[int, int], stride: int, align_corners: bool
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, *small)
    whole = upsample(logits, torch.empty(1, 1, *size), align_corners=align_corners)
    for top in range(stride):
        for left in range(stride):
            grid = Grid(stride, top, left)
            found = upsample_on(logits, size, grid, align_corners)
            torch.testing.assert_close(found, grid.of(whole), atol=1e-5, rtol=1e-5)


def test_the_gradients_of_all_grids_add_up_to_that_of_the_whole() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    masks = torch.randint(3, (2, 16, 20))
    F.cross_entropy(upsample(logits, masks), masks, reduction="sum").backward()
    whole, logits.grad = logits.grad, None
    for top in range(2):
        for left in range(2):
            grid = Grid(2, top, left)
            F.cross_entropy(upsample_on(logits, (16, 20), grid), grid.of(masks), reduction="sum").backward()
    torch.testing.assert_close(logits.grad, whole)


def test_a_step_has_one_grid_and_steps_have_them_all() -> None:
    drawn = [Grid.drawn(2, seed=3, step=step) for step in range(100)]
    assert drawn == [Grid.drawn(2, seed=3, step=step) for step in range(100)]
    assert set(drawn) == {Grid(2, top, left) for top in range(2) for left in range(2)}
    assert {Grid.drawn(1, seed=0, step=step) for step in range(9)} == {Grid()}


@pytest.mark.parametrize("stride", [2, 3])
def test_logits_in_low_precision_are_enlarged_in_full(stride: int) -> None:
    logits = torch.randn(1, 2, 3, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = upsample_on(logits, (24, 32), Grid(stride))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, Grid(stride).of(upsample(logits.float(), torch.empty(1, 1, 24, 32))))


@pytest.mark.parametrize("name", ["stride", "region_stride"])
def test_a_stride_past_the_input_is_refused(name: str) -> None:
    """Up to the shorter side every grid has a pixel; past it, some have none, and nothing would say so."""
    check_strides(Loss(region="dice", **{name: 24}), 24, 32)
    grids = [(top, left) for top in range(24) for left in range(24)]
    assert all(Grid(24, *corner).of(torch.empty(24, 32)).numel() for corner in grids)
    with pytest.raises(OptionError, match=rf"loss\.{name}=25 .*24x32 pixels.*--set loss\.{name}=2, or 24 at most"):
        check_strides(Loss(region="dice", **{name: 25}), 24, 32)
    check_strides(Loss(region_stride=99), 24, 32)  # of no region
