"""How much training pictures are varied: what a recipe says of `augment.*`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args

from hswish.data.augment.policy import PolicyName
from hswish.spec.errors import OptionError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How much a training picture is varied; by default not at all.

    Raises:
        OptionError: a field is out of range.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    """classification: part of the picture's area that the random crop keeps, in (0, 1];
    segmentation: factor of the zoom, above 1 is nearer, then a random crop or padding to size"""
    ratio: tuple[float, float] = (1.0, 1.0)
    """range of width over height, relative to the input's own shape, by which things are stretched"""
    mirror: float = 0.0
    """probability of a left-right flip"""
    rotate: float = 0.0
    """largest turn to either side, in degrees"""
    translate: float = 0.0
    """largest shift in each direction, as a part of the input's height and width"""
    brightness: float = 0.0
    """brightness is multiplied by 1 - x to 1 + x"""
    contrast: float = 0.0
    """contrast is multiplied by 1 - x to 1 + x"""
    saturation: float = 0.0
    """saturation is multiplied by 1 - x to 1 + x"""
    hue: float = 0.0
    """largest turn of the hue to either side, as a part of the colour circle, at most 0.5"""
    policy: PolicyName = "none"
    """trivial (TrivialAugment: one random operation of random strength) or random (RandAugment)"""
    policy_ops: int = 2
    """operations that policy random applies"""
    policy_strength: float = 0.3
    """of the operations of policy random, 0 to 1; RandAugment's magnitude 9 of 30 is 0.3"""
    erase: float = 0.0
    """probability that a box of 2 to 33 % of the area is blotted out and not labelled (arXiv 1708.04896)"""
    paste: float = 0.0
    """segmentation: probability that the things of one rare class are pasted in from another picture"""

    def __post_init__(self) -> None:
        limits = {"rotate": 180.0, "hue": 0.5}
        if self.policy not in get_args(PolicyName):
            raise unknown_name("augmentation policy", self.policy, get_args(PolicyName))
        if self.policy_ops not in range(1, 11):
            raise OptionError(f"policy_ops must be a whole number from 1 to 10, not {self.policy_ops!r}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in ("policy", "policy_ops"):
                continue
            if entry.name in ("scale", "ratio"):
                ok = len(value) == 2 and 0.05 <= value[0] <= value[1] <= 20
                if not ok:
                    raise OptionError(f"{entry.name} must be a range (low, high) within 0.05 to 20, not {value!r}")
            elif not 0 <= value <= limits.get(entry.name, 1.0):
                raise OptionError(f"{entry.name} must be 0 to {limits.get(entry.name, 1.0):g}, not {value!r}")
