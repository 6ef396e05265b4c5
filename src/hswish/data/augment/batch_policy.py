"""TrivialAugment and RandAugment for a batch: which of the fourteen operations of `policy` each item gets.

An operation that moves becomes part of the item's map; one that colours becomes strengths, all others of
which are those that change nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hswish.data.augment.batch_colour import adjusted, equalized, posterized, sharpened, solarized, stretched
from hswish.data.augment.batch_geometry import Array, Size, moves
from hswish.data.augment.policy import RANDOM, TRIVIAL
from hswish.data.augment.settings import Augment

OPERATIONS = (
    "nothing", "shear x", "shear y", "shift x", "shift y", "turn", "brightness", "contrast", "saturation",
    "sharpen", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""In the order of `policy_step`."""
STRENGTHS = 8
"""Columns of an operation's strengths: three factors, alpha, step, threshold, and two choices."""


def draw_operation(
    augment: Augment, generator: np.random.Generator, count: int
) -> tuple[NDArray[np.int64], Array, Array]:
    """Which operation (N,), its strength with a sign -1 to 1 (N,), and without 0 to 1 (N,)."""
    operation = generator.integers(len(OPERATIONS), size=count)
    if augment.policy == "trivial":
        return operation, generator.uniform(-1, 1, count), generator.random(count)
    strength = np.full(count, augment.policy_strength)
    return operation, strength * generator.choice([-1.0, 1.0], count), strength


def operation_moves(augment: Augment, operation: NDArray[np.int64], signed: Array, size: Size) -> Array:
    """(N, 3, 3): what each operation adds to the map, the identity for those of colour."""
    widest = TRIVIAL if augment.policy == "trivial" else RANDOM
    angle = math.degrees(math.atan(widest.shear))

    def part(name: str, most: float) -> Array:
        return np.where(operation == OPERATIONS.index(name), signed * most, 0.0)

    return moves(
        size,
        turn=part("turn", widest.turn),
        lean=(part("shear x", angle), part("shear y", angle)),
        shift=(part("shift x", widest.shift), part("shift y", widest.shift)),
    )


def operation_strengths(augment: Augment, operation: NDArray[np.int64], signed: Array, strength: Array) -> Array:
    """(N, STRENGTHS): what each operation does to colours."""
    widest = TRIVIAL if augment.policy == "trivial" else RANDOM

    def where(name: str, value: Array | float, nothing: float) -> Array:
        return np.where(operation == OPERATIONS.index(name), value, nothing)

    if augment.policy == "trivial":  # each number of bits is as likely, those of strength 0 and 1 included
        bits = widest.bits + np.floor(strength * (9 - widest.bits))
    else:
        bits = np.rint(8 - strength * (8 - widest.bits))
    factors = [where(name, 1 + signed * widest.colour, 1.0) for name in ("brightness", "contrast", "saturation")]
    columns = [
        *factors,
        where("sharpen", strength, 0.0),
        where("posterize", 2 ** (8 - np.maximum(bits, 1)), 1.0),
        where("solarize", 255 * (1 - strength), 256.0),
        where("autocontrast", 1.0, 0.0),
        where("equalize", 1.0, 0.0),
    ]
    return np.stack(columns, 1)


def apply_operation(values: Tensor, grey: Tensor, strengths: Tensor) -> Tensor:
    """Colour (N, C, h, w) by strengths (N, STRENGTHS) on the same device."""
    brightness, contrast, saturation, alpha, step, threshold, stretch, equalize = (
        column.view(-1, 1, 1, 1) for column in strengths.unbind(1)
    )
    values = adjusted(values, grey, brightness, contrast, saturation)
    values = solarized(posterized(sharpened(values, alpha), step), threshold)
    # At most one of all these changes an item, so their order says nothing.
    return equalized(stretched(values, stretch > 0), equalize > 0)
