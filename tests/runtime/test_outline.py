from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from hswish.runtime import SegmentationResult
from hswish.runtime.outline import outlines


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
