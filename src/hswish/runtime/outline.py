"""Outlines of areas in a mask, in numpy: each connected area and the pixel corners around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Walking along the edges of pixels with the area on the right: right, down, left, up as (dy, dx).
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def outlines(inside: NDArray[np.bool_]) -> list[tuple[int, list[list[int]]]]:
    """(pixels, outline) of each area of `inside` (H, W) whose pixels touch by their sides.

    An outline is a list of corners [x, y], clockwise, only those where it turns.
    """
    areas = _areas(inside)
    found = []
    counts = np.bincount(areas.ravel())
    firsts = np.full(len(counts), areas.size, np.int64)
    np.minimum.at(firsts, areas.ravel(), np.arange(areas.size))
    for number in range(1, len(counts)):
        row, column = divmod(int(firsts[number]), areas.shape[1])
        found.append((int(counts[number]), _walk(areas, number, row, column)))
    return found


def _areas(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The number of each pixel's area, from 1; 0 outside. Runs of a row are joined with those above."""
    height, width = inside.shape
    edges = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    first = np.searchsorted(rows, np.arange(height + 1))
    for row in range(1, height):
        above, here = int(first[row - 1]), int(first[row])
        while above < first[row] and here < first[row + 1]:
            if starts[above] < ends[here] and starts[here] < ends[above]:
                one, other = root(above), root(here)
                parents[max(one, other)] = min(one, other)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    numbers = {run: index for index, run in enumerate(sorted({root(run) for run in range(len(rows))}), start=1)}
    areas = np.zeros((height, width), np.intp)
    for run, place in enumerate(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True)):
        areas[place[0], place[1] : place[2]] = numbers[root(run)]
    return areas


def _walk(areas: NDArray[np.intp], number: int, row: int, column: int) -> list[list[int]]:
    """The corners around the area `number`, from the upper left one of its first pixel (row, column)."""
    height, width = areas.shape

    def filled(y: int, x: int) -> bool:
        return 0 <= y < height and 0 <= x < width and areas[y, x] == number

    points = [[column, row]]
    y, x, heading = row, column, 0
    while True:
        dy, dx = _STEPS[heading]
        y, x = y + dy, x + dx
        # The pixels ahead of the corner (y, x), to the left and to the right of the way.
        ahead_right = (y - (heading in (2, 3)), x - (heading in (1, 2)))
        ahead_left = (y - (heading in (0, 3)), x - (heading in (2, 3)))
        if not filled(*ahead_right):
            turn = 1
        elif filled(*ahead_left):
            turn = 3
        else:
            turn = 0
        if turn:
            if [x, y] == points[0]:
                return points
            points.append([x, y])
            heading = (heading + turn) % 4
        elif [x, y] == points[0]:
            return points
