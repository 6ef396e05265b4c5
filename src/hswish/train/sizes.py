"""Choosing the network's input size from the pictures, where the user did not."""

from __future__ import annotations

import math
from dataclasses import replace

from hswish.data import DataSource
from hswish.spec.preprocess import Preprocess
from hswish.train.recipe import Recipe

_PAPER_SIZE = 224
_LARGEST_SHORTER_SIDE = 512


def choose_preprocess(source: DataSource, recipe: Recipe, default: Preprocess) -> Preprocess:
    """`default` with the input size that suits the data; the recipe's size wins.

    Classification: the paper's 224; small pictures are doubled, to 64 at least, so that a
    network of stride 32 has something left to look at. Segmentation: the pictures' own
    size, scaled down where the shorter side is above 512.
    """
    height, width = source.median_size()
    if source.task == "segmentation":
        scale = min(1.0, _LARGEST_SHORTER_SIDE / min(height, width))
        height, width = _fill(recipe, max(32, round(height * scale)), max(32, round(width * scale)))
        return replace(default, height=height, width=width, resize="shorter")
    doubled = 32 * math.ceil(2 * min(height, width) / 32)
    side = min(_PAPER_SIZE, max(64, doubled))
    height, width = _fill(recipe, side, side)
    fraction = 0.875 if min(height, width) >= 160 else 1.0
    return replace(default, height=height, width=width, resize="crop", crop_fraction=fraction)


def _fill(recipe: Recipe, height: int, width: int) -> tuple[int, int]:
    """The recipe's size instead of (height, width); one number alone sets the shorter side."""
    if recipe.height is not None and recipe.width is not None:
        return recipe.height, recipe.width
    shorter = recipe.height or recipe.width or min(height, width)
    scale = shorter / min(height, width)
    return round(height * scale), round(width * scale)
