from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from hswish.runtime import SegmentationResult
from hswish.runtime.outline import Outline, area_outlines, outlines


def filled(points: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """The area inside an outline of pixel corners, drawn at eight times the size."""
    image = Image.new("1", (8 * shape[1], 8 * shape[0]))
    ImageDraw.Draw(image).polygon([(8 * x, 8 * y) for x, y in points], fill=1)
    return np.asarray(image)[4::8, 4::8]


def test_a_square_and_a_step() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert outlines(mask) == [(6, [[1, 1], [4, 1], [4, 3], [1, 3]])]
    mask[3, 3] = True
    assert outlines(mask) == [(7, [[1, 1], [4, 1], [4, 4], [3, 4], [3, 3], [1, 3]])]
    assert outlines(np.zeros((3, 3), bool)) == []
    assert outlines(np.ones((2, 3), bool)) == [(6, [[0, 0], [3, 0], [3, 2], [0, 2]])]


@pytest.mark.parametrize("seed", range(12))
def test_areas_and_outlines_against_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(23, 31)), 0.4 + 0.1 * seed) > 0
    labelled, count = ndimage.label(mask)
    found = outlines(mask)
    assert sorted(area for area, _ in found) == sorted(np.bincount(labelled.ravel())[1:])
    assert len(found) == count
    for area, points in found:
        again = filled(points, mask.shape)
        whole = [
            ndimage.binary_fill_holes(labelled == index, np.ones((3, 3)))  # what lies open at a corner is outside
            for index in range(1, count + 1)
            if (labelled == index).sum() == area
        ]
        assert any(np.array_equal(again, one) for one in whole)


def test_polygons_of_a_result() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[2:12, 3:23], mask[20:25, 5:10], mask[28, 1] = 1, 2, 2
    result = SegmentationResult(
        name="x", classes=("background", "car", "tree"), picture=Image.new("RGB", (40, 30)), time_ms=1.0, mask=mask
    )
    found = result.polygons()
    assert [(entry["label"], entry["area"]) for entry in found] == [("car", 200), ("tree", 25)]
    assert found[0]["points"] == [[3, 2], [23, 2], [23, 12], [3, 12]]
    assert len(result.polygons(smallest=1)) == 3


def flooded(mask: np.ndarray, row: int, column: int) -> set[tuple[int, int]]:
    """The pixels of the area that a pixel belongs to."""
    area, todo = set(), [(row, column)]
    while todo:
        y, x = todo.pop()
        if (y, x) in area or not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]):
            continue
        if mask[y, x] == mask[row, column]:
            area.add((y, x))
            todo += [(y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)]
    return area


def walked(area: set[tuple[int, int]]) -> list[list[int]]:
    """The corners around an area, pixel by pixel: right at the first chance, as with a hand on the wall."""
    steps = [(1, 0), (0, 1), (-1, 0), (0, -1)]  # (x, y): right, down, left, up
    row, column = min(area)
    x, y, heading, points = column, row, 0, [[column, row]]
    while True:
        x, y = x + steps[heading][0], y + steps[heading][1]
        # The pixels around the corner (x, y), clockwise from the lower right one: ahead on the right for heading 0.
        around = [(y, x), (y, x - 1), (y - 1, x - 1), (y - 1, x)]
        right, left = around[heading], around[heading - 1]
        turn = 1 if right not in area else 3 if left in area else 0
        if [x, y] == points[0]:
            return points
        if turn:
            points.append([x, y])
            heading = (heading + turn) % 4


def slowly(mask: np.ndarray, wanted: np.ndarray, smallest: int) -> list[Outline]:
    found, seen = [], set()
    for row, column in np.ndindex(mask.shape):
        if (row, column) not in seen:
            area = flooded(mask, row, column)
            seen |= area
            value = int(mask[row, column])
            if value < len(wanted) and wanted[value] and len(area) >= smallest:
                found.append(Outline(value=value, area=len(area), points=walked(area)))
    return sorted(found, key=lambda one: one.value)


MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255]))
)


@given(mask=MASKS, smallest=st.integers(0, 6))
def test_any_mask_as_done_slowly(mask: np.ndarray, smallest: int) -> None:
    wanted = np.array([False, True, True])
    found, slow = area_outlines(mask, wanted, smallest), slowly(mask, wanted, smallest)
    assert [vars(one) for one in found] == [vars(one) for one in slow]


@pytest.mark.parametrize("density", [0.2, 0.5, 0.6, 0.9])
def test_noise_as_done_slowly(density: float) -> None:
    """Areas within areas, touching by corners, along every edge."""
    mask = (np.random.default_rng(0).random((80, 70)) < density).astype(np.uint8)
    found, slow = (function(mask, np.array([True, True]), 1) for function in (area_outlines, slowly))
    assert [vars(one) for one in found] == [vars(one) for one in slow]


def test_a_mask_without_pixels_and_the_collector() -> None:
    assert area_outlines(np.zeros((0, 5), np.uint8), np.array([True])) == []
    assert area_outlines(np.zeros((5, 0), np.uint8), np.array([True])) == []
    outlines(np.ones((2, 2), bool))
    assert gc.isenabled()
