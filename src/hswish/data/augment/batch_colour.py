"""Operations on the colours of a batch, each of a strength of its own for every item.

Values are (N, C, h, w) float32, whole numbers 0 to 255, before and after each operation, as they are in a
pipeline in bytes. Strengths are (N, 1, 1, 1); each operation has one that changes nothing, so a batch in
which every item has another operation goes through all of them, and shapes never depend on what is drawn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def _whole(values: Tensor) -> Tensor:
    """To bytes and back, rounding half to even as cv2 does."""
    return values.round_().clamp_(0, 255)


def adjusted(values: Tensor, grey: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """The three factors of ColorJitter at once; 1 changes nothing.

    Contrast is about the picture's mean grey, saturation about each pixel's, and saturation leaves the grey as
    it is: so without clipping in between the order makes no difference, and one linear map does all three.

    Args:
        grey: (C, 1, 1), the channels' weights in grey.
    """
    pixel = (values * grey).sum(1, keepdim=True)
    mean = pixel.mean((2, 3), keepdim=True)
    both = brightness * contrast
    return _whole(both * saturation * values + both * (1 - saturation) * pixel + brightness * (1 - contrast) * mean)


def hue_turned(values: Tensor, turn: Tensor) -> Tensor:
    """RGB with its hue turned by a part of the colour circle; 0 changes nothing."""
    largest, smallest = values.amax(1, keepdim=True), values.amin(1, keepdim=True)
    chroma = largest - smallest
    red, green, blue = values.split(1, 1)
    by = chroma.clamp(min=1)  # grey has no hue: chroma 0 makes it 0 whatever the divisor
    sextant = torch.where(
        largest == red,
        (green - blue) / by,
        torch.where(largest == green, (blue - red) / by + 2, (red - green) / by + 4),
    )
    # The usual formula of HSV to RGB: each channel falls from the largest value by up to the chroma.
    place = torch.cat([sextant + 6 * turn + offset for offset in (5, 3, 1)], 1).remainder(6)
    return _whole(largest - chroma * torch.minimum(place, 4 - place).clamp(0, 1))


def sharpened(values: Tensor, alpha: Tensor) -> Tensor:
    """A.Sharpen of lightness 1: alpha times the kernel with 9 in its middle and -1 around; 0 changes nothing."""
    border = "reflect" if min(values.shape[-2:]) > 1 else "replicate"
    blurred = F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode=border), 3, stride=1)
    return _whole(values + 9 * alpha * (values - blurred))


def posterized(values: Tensor, step: Tensor) -> Tensor:
    """Down to multiples of `step`, 2 to the number of bits lost; 1 changes nothing."""
    return (values / step).floor() * step


def solarized(values: Tensor, threshold: Tensor) -> Tensor:
    """Inverted from `threshold` on; 256 changes nothing."""
    return torch.where(values >= threshold, 255 - values, values)


def stretched(values: Tensor, chosen: Tensor) -> Tensor:
    """AutoContrast as PIL has it: where `chosen`, each channel's values are spread to 0 to 255."""
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    spread = _whole((values - low) * (255 / (high - low).clamp(min=1)))
    return torch.where(chosen & (high > low), spread, values)


def equalized(values: Tensor, chosen: Tensor) -> Tensor:
    """As cv2.equalizeHist: where `chosen`, each channel's values become their rank, 0 to 255."""
    codes = values.flatten(2).long()
    counts = values.new_zeros((*codes.shape[:2], 256)).scatter_add_(2, codes, torch.ones_like(values).flatten(2))
    below = counts.cumsum(2)  # whole numbers, exact in float32 up to 16 million pixels
    darkest = below.gather(2, codes.amin(2, keepdim=True))
    others = codes.shape[2] - darkest
    table = ((below - darkest) * (255 / others.clamp(min=1))).round_()
    ranked = table.gather(2, codes).view_as(values)
    return torch.where(chosen & (others[..., None] > 0), ranked, values)
