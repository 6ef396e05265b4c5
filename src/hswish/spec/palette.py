"""Colours for class indices: well apart, the same for every run and every tool."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BACKGROUND_NAMES = frozenset({"background", "bg", "void", "none"})
IGNORE_INDEX = 255
"""Mask value of a pixel that is not labelled: it counts in no loss and no metric."""

_GOLDEN = 0.618033988749895


def palette(classes: Sequence[str] = ()) -> NDArray[np.uint8]:
    """A colour for each mask value, (256, 3) uint8; backgrounds and 255 are black.

    Hues walk by the golden ratio, so neighbours in the list are far apart in colour.
    """
    colours = np.zeros((256, 3), np.uint8)
    for index in range(IGNORE_INDEX):
        lightness = (1.0, 0.72, 0.88)[index % 3]
        saturation = (0.85, 0.95, 0.55)[(index // 3) % 3]
        rgb = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN) % 1.0, saturation, lightness)
        colours[index] = [round(255 * value) for value in rgb]
    named = classes[:IGNORE_INDEX]
    colours[: len(named)][is_background(named)] = 0
    return colours


def is_background(classes: Sequence[str]) -> NDArray[np.bool_]:
    """Which classes are named like a background, (len(classes),) bool."""
    return np.array([name.lower() in BACKGROUND_NAMES for name in classes], bool)
