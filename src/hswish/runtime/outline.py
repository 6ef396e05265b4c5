"""Outlines of areas in a mask, in numpy: each connected area and the pixel corners around it.

Areas are found by their runs, the pixels of one value side by side in a row; outlines by their sides, straight lines
from one corner to the next, each of which knows the side that goes on where it ends. Both for all areas at once: the
only thing done for one corner at a time is to follow the sides around.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Outline:
    """One area of pixels of the same value that touch by their sides."""

    value: int
    area: int
    """in pixels"""
    points: list[list[int]]
    """corners [x, y], clockwise from the upper left one of its first pixel, only those where the outline turns"""


def outlines(inside: NDArray[np.bool_]) -> list[tuple[int, list[list[int]]]]:
    """(pixels, outline) of each area of `inside` (H, W), in the order of their first pixels; see `Outline`."""
    wanted = np.array([False, True])
    return [(found.area, found.points) for found in area_outlines(inside.astype(np.uint8), wanted)]


def area_outlines(mask: NDArray[np.uint8], wanted: NDArray[np.bool_], smallest: int = 1) -> list[Outline]:
    """The areas of a mask (H, W), by value and then in the order of their first pixels; holes are not told of.

    Args:
        wanted: (K,), whether areas of each value are; values from K on are not.
        smallest: areas of fewer pixels are left out.
    """
    if not mask.size:
        return []
    width = mask.shape[1]
    starts, values, roots = _runs(mask)
    lengths = np.diff(starts, append=mask.size)
    counts = np.bincount(roots, lengths, minlength=len(starts)).astype(np.int64)  # of the first run of each area
    known = np.zeros(256, bool)
    known[: len(wanted)] = wanted[:256]
    kept = np.flatnonzero((counts >= max(1, smallest)) & known[values])
    kept = kept[np.argsort(values[kept], kind="stable")]
    numbers = np.zeros(len(starts), np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    sides = _sides(np.repeat(numbers[roots], lengths).reshape(mask.shape))
    y, x = np.divmod(starts[kept], width)
    with _uncollected():
        points, ends = _walked(sides, y * (width + 1) + x, (len(mask) + 1) * (width + 1), width)
        begins = [0, *ends][: len(ends)]
        about = zip(values[kept].tolist(), counts[kept].tolist(), begins, ends, strict=True)
        return [Outline(value=value, area=area, points=points[begin:end]) for value, area, begin, end in about]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles, of which there are none: it would look through millions of points again and
    again, and take longer than all the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _runs(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """The runs of a mask: where each begins, counted through all rows; its value; the first run of its area."""
    width = mask.shape[1]
    first = np.ones(mask.shape, bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    values = mask.ravel()[starts]
    ends = np.append(starts[1:], mask.size)
    # Below each run lie those from the first that ends behind its beginning to the last that begins before its end.
    above = int(np.searchsorted(starts, mask.size - width))
    low = np.searchsorted(ends, starts[:above] + width, side="right")
    count = np.searchsorted(starts, ends[:above] + width, side="left") - low
    upper = np.repeat(np.arange(above), count)
    lower = np.arange(len(upper)) + np.repeat(low - np.cumsum(count) + count, count)
    alike = values[upper] == values[lower]
    return starts, values, _joined(len(starts), upper[alike], lower[alike])


def _joined(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first of all that each of `count` things is joined with, also through others, by the pairs `one`, `other`."""
    roots = np.arange(count)
    while len(one):
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(above := roots[roots], roots):
            roots = above
        one, other = roots[one], roots[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return roots


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sides:
    """The straight parts of all outlines, to the right, down, to the left and up, with their area on the right."""

    starts: list[NDArray[np.int64]]
    """of each of the four directions the corners at which its sides begin; corners are counted through all rows"""
    ends: list[NDArray[np.int64]]


def _sides(areas: NDArray[np.int32]) -> _Sides:
    """The sides of all areas of `areas` (H, W), whose pixels hold the number of their area, or 0."""
    across = areas.shape[1] + 1
    right_start, right_end, left_end, left_start = _lines(areas, across, 1)
    up_end, up_start, down_start, down_end = _lines(np.ascontiguousarray(areas.T), 1, across)
    return _Sides(starts=[right_start, down_start, left_start, up_start], ends=[right_end, down_end, left_end, up_end])


def _lines(areas: NDArray[np.int32], row: int, column: int) -> tuple[NDArray[np.int64], ...]:
    """The lines along rows that pixels of one area have above them, then below: first corners and last corners.

    Args:
        row: corners from one row to the next; `column`: from one column to the next.
    """
    found = []
    width = areas.shape[1]
    alike = areas[1:] == areas[:-1]
    for below in (False, True):
        edges = areas.copy()
        np.copyto(edges[:-1] if below else edges[1:], 0, where=alike)
        change = np.ones((len(edges), width + 1), bool)
        np.not_equal(edges[:, 1:], edges[:, :-1], out=change[:, 1:-1])
        for further in (0, 1):
            y, x = np.divmod(np.flatnonzero(change[:, further : width + further] & (edges > 0)), width)
            found.append((y + below) * row + (x + further) * column)
    return tuple(found)


def _walked(sides: _Sides, firsts: NDArray[np.int64], size: int, width: int) -> tuple[list[list[int]], list[int]]:
    """The corners [x, y] around each area, one area after the other, and where each one's end.

    Args:
        firsts: the corner at which each area's outline begins, to the right.
        size: the number of all corners of the mask, whose rows have `width` pixels.
    """
    begins = np.cumsum([0, *map(len, sides.starts)])
    beginnings = np.empty(0, np.int32)
    right_turn, left_turn = [beginnings] * 4, [beginnings] * 4
    place = np.empty(size, np.int32)
    for heading, corners in enumerate(sides.starts):
        place.fill(-1)
        place[corners] = np.arange(begins[heading], begins[heading + 1])
        before, behind = (heading + 3) % 4, (heading + 1) % 4
        right_turn[before], left_turn[behind] = place[sides.ends[before]], place[sides.ends[behind]]
        if heading == 0:
            beginnings = place[firsts]
    # Where an area touches itself or another one by a corner only, its outline turns right and stays with its pixel.
    onward = [np.where(right < 0, left, right) for right, left in zip(right_turn, left_turn, strict=True)]
    following = np.concatenate(onward).tolist()
    order: list[int] = []
    ends = []
    for first in beginnings.tolist():
        side = first
        while True:
            order.append(side)
            side = following[side]
            if side == first:
                break
        ends.append(len(order))
    y, x = np.divmod(np.concatenate(sides.starts)[order], width + 1)
    return np.stack((x, y), 1).tolist(), ends
