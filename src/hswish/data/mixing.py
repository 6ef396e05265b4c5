"""Mixup and cutmix: two pictures of a batch become one, and so do their labels.

Both are pure functions of the batch and of a generator that the caller seeds by (seed, step).
The partner of a picture is its neighbour in the batch, which the loader has shuffled already.
Sources: mixup, arXiv 1710.09412; cutmix, arXiv 1905.04899.
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
        targets: (N,) class indices.
        generator: decides everything that is random.
        mixup, cutmix: parameter of the Beta(a, a) distribution that the share of the first picture
            is drawn from; 0 never mixes that way.
        probability: of mixing the batch at all.

    Returns:
        The pictures in their own memory format and the soft targets (N, K) float32, whose rows sum to 1.

    Raises:
        OptionError: a parameter is out of range.
    """
    if not (0 <= mixup < math.inf and 0 <= cutmix < math.inf and 0 <= probability <= 1):
        raise OptionError(
            f"mixup and cutmix must be 0 or more and probability 0 to 1, not {mixup!r}, {cutmix!r}, {probability!r}"
        )
    soft = F.one_hot(targets.long(), num_classes).float()
    if not (mixup or cutmix) or generator.random() >= probability:
        return pictures, soft
    by_cutmix = bool(cutmix) and (not mixup or generator.random() < 0.5)
    if by_cutmix:
        return _cutmix(pictures, soft, float(generator.beta(cutmix, cutmix)), generator)
    return _mixup(pictures, soft, float(generator.beta(mixup, mixup)))


def _mixup(pictures: Tensor, soft: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """`share` of each picture and of its target, the rest of its neighbour's."""
    # lerp keeps the memory format of its first operand
    return torch.lerp(pictures, _neighbours(pictures), 1 - share), torch.lerp(soft, _neighbours(soft), 1 - share)


def _cutmix(pictures: Tensor, soft: Tensor, share: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A box of about 1 - `share` of the area from the neighbour; the target follows the area it really has."""
    height, width = pictures.shape[-2:]
    row, column = (
        int(generator.integers(height)),
        int(generator.integers(width)),
    )  # the box's middle: at the border it is cut
    half_height, half_width = (round(side * math.sqrt(1 - share) / 2) for side in (height, width))
    top, bottom = max(0, row - half_height), min(height, row + half_height)
    left, right = max(0, column - half_width), min(width, column + half_width)
    mixed = pictures.clone(memory_format=torch.preserve_format)
    mixed[..., top:bottom, left:right] = _neighbours(pictures)[..., top:bottom, left:right]
    pasted = (bottom - top) * (right - left) / (height * width)
    return mixed, torch.lerp(soft, _neighbours(soft), pasted)


def _neighbours(values: Tensor) -> Tensor:
    """At each place what stands before it; the last one stands before the first."""
    return torch.roll(values, 1, dims=0)
