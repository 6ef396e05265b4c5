"""TrivialAugment and RandAugment, out of albumentations' steps, for pictures and their masks.

Both draw from the same fourteen operations; nothing is searched for.

trivial   one operation of a strength drawn from 0 to the widest (arXiv 2103.10158, "wide")
random    `policy_ops` operations, all of the strength `policy_strength` (arXiv 1909.13719)

Strengths are those of the papers' code as torchvision gives them. Where a sign makes sense, it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

PolicyName = Literal["none", "trivial", "random"]


@dataclass(frozen=True, kw_only=True)
class _Widest:
    """Strength 1 of each operation."""

    shear: float
    """tangent of the angle"""
    shift: float
    """part of the side"""
    turn: float
    """degrees"""
    colour: float
    """factors run from 1 - x to 1 + x"""
    bits: int
    """bits a channel that are left"""


TRIVIAL = _Widest(shear=0.99, shift=32 / 224, turn=135.0, colour=0.99, bits=2)
RANDOM = _Widest(shear=0.3, shift=150 / 331, turn=30.0, colour=0.9, bits=4)

Range = tuple[float, float]


def policy_step(A: Any, name: PolicyName, ops: int, strength: float, affine: dict[str, Any]) -> Any:  # noqa: N803
    """The policy as one albumentations step.

    Args:
        A: the albumentations module.
        ops, strength: of "random": how many operations, and of which strength in [0, 1].
        affine: what fills the border of a moved picture, as `A.Affine` takes it.
    """
    widest = TRIVIAL if name == "trivial" else RANDOM

    def signed(step: Callable[[Range], Any], most: float) -> Any:
        """A step of a strength between -most and most, or of plus or minus the one strength."""
        if name == "trivial":
            return step((-most, most))
        value = strength * most
        return A.OneOf([step((value, value)), step((-value, -value))], p=1)

    def shear(axis: str) -> Any:
        most = math.degrees(math.atan(widest.shear))
        return signed(lambda angle: A.Affine(shear={axis: angle, _other(axis): (0.0, 0.0)}, p=1, **affine), most)

    def shift(axis: str) -> Any:
        return signed(
            lambda part: A.Affine(translate_percent={axis: part, _other(axis): (0.0, 0.0)}, p=1, **affine), widest.shift
        )

    def colour(quality: str) -> Any:
        still = {"brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": (0.0, 0.0)}
        return signed(
            lambda change: A.ColorJitter(**{**still, quality: (1 + change[0], 1 + change[1])}, p=1), widest.colour
        )

    one_way: Range = (0.0, 1.0) if name == "trivial" else (strength, strength)
    bits = tuple(sorted(round(8 - value * (8 - widest.bits)) for value in one_way))
    steps = [
        A.NoOp(p=1),
        *(shear(axis) for axis in "xy"),
        *(shift(axis) for axis in "xy"),
        signed(lambda angle: A.Affine(rotate=angle, p=1, **affine), widest.turn),
        *(colour(quality) for quality in ("brightness", "contrast", "saturation")),
        A.Sharpen(alpha=one_way, lightness=(1.0, 1.0), p=1),
        A.Posterize(num_bits=(max(1, bits[0]), max(1, bits[1])), p=1),
        A.Solarize(threshold_range=(1 - one_way[1], 1 - one_way[0]), p=1),
        A.AutoContrast(method="pil", p=1),
        A.Equalize(p=1),
    ]
    return A.OneOf(steps, p=1) if name == "trivial" else A.SomeOf(steps, n=ops, replace=True, p=1)


def _other(axis: str) -> str:
    return "y" if axis == "x" else "x"
