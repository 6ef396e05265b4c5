"""Mixup and cutmix: two pictures of a batch become one, and so do their labels or masks.

Both are pure functions of the batch and of a generator that the caller seeds by (seed, step).
The partner of a picture is its neighbour in the batch, which the loader has shuffled already.
Sources: mixup, arXiv 1710.09412; cutmix, arXiv 1905.04899, of masks arXiv 1906.01916.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hswish.spec.errors import OptionError


def mix(
    pictures: Tensor,
    targets: Tensor,
    num_classes: int,
    generator: np.random.Generator,
    *,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    probability: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Mix a batch by mixup or by cutmix; where both are asked for, a coin decides.

    Args:
        pictures: (N, C, h, w) float.
        targets: (N,) class indices, or masks (N, h, w) of them, which a box's pixels are cut from as from pictures.
        generator: decides everything that is random.
        mixup, cutmix: parameter of the Beta(a, a) distribution that the share of the first picture
            is drawn from; 0 never mixes that way.
        probability: of mixing the batch at all.

    Returns:
        The pictures in their own memory format and the soft targets (N, K) float32, whose rows sum to 1, or the masks.

    Raises:
        OptionError: a parameter is out of range, or mixup of masks.
    """
    if not (0 <= mixup < math.inf and 0 <= cutmix < math.inf and 0 <= probability <= 1):
        raise OptionError(
            f"mixup and cutmix must be 0 or more and probability 0 to 1, not {mixup!r}, {cutmix!r}, {probability!r}"
        )
    of_masks = targets.ndim == 3
    if of_masks and mixup:
        raise OptionError("mixup is for classification: a pixel has one class; cutmix mixes masks too")
    soft = targets if of_masks else F.one_hot(targets.long(), num_classes).float()
    if not (mixup or cutmix) or generator.random() >= probability:
        return pictures, soft
    by_cutmix = bool(cutmix) and (not mixup or generator.random() < 0.5)
    if not by_cutmix:
        return _mixup(pictures, soft, float(generator.beta(mixup, mixup)))
    height, width = pictures.shape[-2:]
    box = _box(height, width, float(generator.beta(cutmix, cutmix)), generator)
    if of_masks:
        return _pasted(pictures, box), _pasted(targets, box)
    (top, bottom), (left, right) = box
    cut = (bottom - top) * (right - left) / (height * width)  # the area that the box really has
    return _pasted(pictures, box), torch.lerp(soft, _neighbours(soft), cut)


def _mixup(pictures: Tensor, soft: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """`share` of each picture and of its target, the rest of its neighbour's."""
    # lerp keeps the memory format of its first operand
    return torch.lerp(pictures, _neighbours(pictures), 1 - share), torch.lerp(soft, _neighbours(soft), 1 - share)


def _box(height: int, width: int, share: float, generator: np.random.Generator) -> tuple[tuple[int, int], ...]:
    """((top, bottom), (left, right)) of about 1 - `share` of the area; at the border it is cut."""
    sides = []
    for length in (height, width):
        middle = int(generator.integers(length))
        half = round(length * math.sqrt(1 - share) / 2)
        sides.append((max(0, middle - half), min(length, middle + half)))
    return tuple(sides)


def _pasted(values: Tensor, box: tuple[tuple[int, int], ...]) -> Tensor:
    """(N, ..., h, w) with the neighbour's values within the box."""
    (top, bottom), (left, right) = box
    mixed = values.clone(memory_format=torch.preserve_format)
    mixed[..., top:bottom, left:right] = _neighbours(values)[..., top:bottom, left:right]
    return mixed


def _neighbours(values: Tensor) -> Tensor:
    """At each place what stands before it; the last one stands before the first."""
    return torch.roll(values, 1, dims=0)
