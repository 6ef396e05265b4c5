"""Colours: distinct, fixed, black only where nothing is meant to show."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest

from hswish.spec.palette import IGNORE_INDEX, is_background, palette


def test_shape_and_black_ends() -> None:
    colours = palette()
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    assert not colours[IGNORE_INDEX].any()
    assert colours[:IGNORE_INDEX].any(axis=1).all()


def test_all_colours_differ() -> None:
    assert len(np.unique(palette()[:IGNORE_INDEX], axis=0)) == IGNORE_INDEX


def test_neighbours_are_far_apart_in_hue() -> None:
    hues = [colorsys.rgb_to_hsv(*(colour / 255))[0] for colour in palette()[:40]]
    for one, other in itertools.pairwise(hues):
        distance = abs(one - other)
        assert min(distance, 1 - distance) > 0.3


def test_the_first_twenty_are_told_apart() -> None:
    colours = palette()[:20].astype(int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1)
    assert distances[~np.eye(20, dtype=bool)].min() > 60


def test_fixed_for_every_run_and_list() -> None:
    """A colour belongs to an index, whatever the names: old pictures stay comparable."""
    assert np.array_equal(palette(), palette(["road", "tree"]))
    assert palette()[:3].tolist() == [[38, 151, 255], [154, 184, 28], [205, 34, 224]]


@pytest.mark.parametrize("name", ["background", "Background", "BG", "void", "none"])
def test_backgrounds_are_black(name: str) -> None:
    colours = palette(["road", name, "tree"])
    assert not colours[1].any()
    assert np.array_equal(np.delete(colours, 1, axis=0), np.delete(palette(), 1, axis=0))


def test_is_background() -> None:
    assert is_background(["road", "background", "backgrounds"]).tolist() == [False, True, False]
    assert is_background([]).shape == (0,)


@pytest.mark.parametrize("count", [0, 255, 256, 1000])
def test_any_number_of_classes(count: int) -> None:
    assert not palette(["void"] * count)[: min(count, 256)].any()
