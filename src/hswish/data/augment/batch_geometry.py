"""Where each pixel of a batch comes from: one affine map an item, and one sampling.

Maps are drawn in numpy, (N, 3, 3) float64, and lead from a pixel (x, y, 1) of the output to its position in
the source, in pixels whose centres are whole numbers. So moves compose by `@` from the last step of
`augment` to the first, and whole-pixel shifts and flips stay exact.

Two things differ from step-by-step augmentation: a move shows what the picture has beyond the crop before it
reflects or fills, and nothing is rounded or blended twice.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from hswish.data.augment.settings import Augment
from hswish.spec.palette import IGNORE_INDEX

Size = tuple[int, int]
"""(height, width) in pixels"""
Array = NDArray[np.float64]

_TRIES = 10
"""Crops drawn before the whole picture is taken, as torchvision and albumentations do."""


def crops(augment: Augment, source: Size, size: Size, generator: np.random.Generator, count: int) -> Array:
    """Random crops wholly inside the picture, scaled to `size`: (N, 3, 3).

    The area is uniform within `augment.scale`, the shape log-uniform within `augment.ratio`.
    """
    height, width = source
    area = generator.uniform(*augment.scale, (_TRIES, count)) * height * width
    shape = _log_uniform(generator, augment.ratio, (_TRIES, count)) * size[1] / size[0]
    wide, high = np.rint(np.sqrt(area * shape)), np.rint(np.sqrt(area / shape))
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
    first, items = fits.argmax(0), np.arange(count)
    # Where none fits: the largest crop of a permitted shape, from the centre.
    narrowest, widest = (ratio * size[1] / size[0] for ratio in augment.ratio)
    shape_here = min(max(width / height, narrowest), widest)
    whole = min(width, round(height * shape_here)), min(height, round(width / shape_here))
    wide, high = (
        np.where(fits.any(0), drawn[first, items], max(1, most))
        for drawn, most in zip((wide, high), whole, strict=True)
    )
    left, top = (
        np.where(fits.any(0), np.floor(generator.random(count) * (most - side + 1)), (most - side) // 2)
        for most, side in ((width, wide), (height, high))
    )
    return _window(left, top, wide / size[1], high / size[0])


def zooms(augment: Augment, source: Size, size: Size, generator: np.random.Generator, count: int) -> Array:
    """Random zoom and stretch, both log-uniform, then a window of `size` anywhere inside, or around: (N, 3, 3)."""
    zoom = _log_uniform(generator, augment.scale, count)
    stretch = np.sqrt(_log_uniform(generator, augment.ratio, count))
    scaled = [
        np.maximum(1, np.rint(side * factor))
        for side, factor in zip(source, (zoom / stretch, zoom * stretch), strict=True)
    ]
    # Larger than the window: it starts at 0 to the excess; smaller: the picture lies somewhere in the window.
    top, left = (
        np.sign(side - window) * np.floor(generator.random(count) * (np.abs(side - window) + 1))
        for side, window in zip(scaled, size, strict=True)
    )
    vertical, horizontal = source[0] / scaled[0], source[1] / scaled[1]
    return _window(left * horizontal, top * vertical, horizontal, vertical)


def mirrors(flipped: NDArray[np.bool_], size: Size) -> Array:
    """A left-right flip where `flipped` (N,): (N, 3, 3)."""
    return _affine(np.where(flipped, -1.0, 1.0), 0, np.where(flipped, size[1] - 1.0, 0.0), 0, 1, 0)


def moves(
    size: Size,
    *,
    turn: Array | float = 0.0,
    lean: tuple[Array | float, Array | float] = (0.0, 0.0),
    shift: tuple[Array | float, Array | float] = (0.0, 0.0),
) -> Array:
    """Turns and shears about the centre, then shifts, as `A.Affine` makes them: (N, 3, 3).

    Args:
        turn: (N,) degrees.
        lean: (N,) degrees of the shear along x and along y; one of them is 0.
        shift: (N,) along x and y, parts of the width and height, cut to whole pixels.
    """
    middle_x, middle_y = size[1] / 2 - 0.5, size[0] / 2 - 0.5
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    lean_x, lean_y = (np.tan(np.deg2rad(angle)) for angle in lean)
    right, down = np.trunc(np.multiply(shift[0], size[1])), np.trunc(np.multiply(shift[1], size[0]))
    back_to_picture = _affine(1, 0, middle_x, 0, 1, middle_y)
    return (
        back_to_picture
        @ _affine(cos, -sin, 0, sin, cos, 0)
        @ _affine(1, lean_x, 0, lean_y, 1, 0)
        @ _affine(1, 0, -middle_x - right, 0, 1, -middle_y - down)
    )


def sampled(
    pictures: Tensor, masks: Tensor | None, maps: Tensor, size: Size, fill: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Look up every output pixel: bilinear for pictures, nearest for masks.

    Args:
        pictures: (N, H, W, C) uint8.
        masks: (N, H, W) uint8 or None.
        maps: (N, 6) float32, rows 1 and 2 of the maps.
        size: of the output.
        fill: (C, 1, 1) colour outside of the picture, where masks get 255; None reflects there, without
            repeating the border's pixels, as cv2.BORDER_REFLECT_101 does.

    Returns:
        (N, C, h, w) float32 whole numbers 0 to 255, as each step of a pipeline in bytes would leave them, and
        (N, h, w) uint8.
    """
    height, width = pictures.shape[1:3]
    a, b, c, d, e, f = (value.view(-1, 1, 1) for value in maps.unbind(1))
    x = torch.arange(size[1], device=maps.device, dtype=torch.float32)
    y = torch.arange(size[0], device=maps.device, dtype=torch.float32)[:, None]
    across, down = a * x + b * y + c, d * x + e * y + f
    # align_corners=True: -1 and 1 are the centres of the outermost pixels, about which "reflection" then mirrors
    # (with False it mirrors about their outer edges). Which one is chosen changes nothing inside.
    grid = torch.stack((across * (2 / max(width - 1, 1)) - 1, down * (2 / max(height - 1, 1)) - 1), -1)
    border = "reflection" if fill is None else "border"
    values = pictures.permute(0, 3, 1, 2).float()
    seen = F.grid_sample(values, grid, mode="bilinear", padding_mode=border, align_corners=True).round_()
    shown = None
    if masks is not None:
        nearest = F.grid_sample(masks[:, None].float(), grid, mode="nearest", padding_mode=border, align_corners=True)
        shown = nearest[:, 0].to(torch.uint8)
    if fill is not None:
        # The picture ends at the outer edges of its pixels, for itself and for its mask alike.
        inside = ((across - (width - 1) / 2).abs() <= width / 2) & ((down - (height - 1) / 2).abs() <= height / 2)
        seen = torch.where(inside[:, None], seen, fill)
        shown = None if shown is None else shown.masked_fill(~inside, IGNORE_INDEX)
    return seen, shown


def _window(left: Array, top: Array, horizontal: Array, vertical: Array) -> Array:
    """From pixels of the output to a window at (left, top) whose pixels are that many source pixels wide and high."""
    return _affine(horizontal, 0, left + 0.5 * horizontal - 0.5, 0, vertical, top + 0.5 * vertical - 0.5)


def _affine(*rows: Array | float) -> Array:
    """(N, 3, 3) from the six numbers of the two upper rows, each (N,) or one for all."""
    upper = np.stack(np.broadcast_arrays(*rows), -1).astype(np.float64)
    matrix = np.zeros((*upper.shape[:-1], 3, 3))
    matrix[..., :2, :] = upper.reshape(*upper.shape[:-1], 2, 3)
    matrix[..., 2, 2] = 1
    return matrix


def _log_uniform(generator: np.random.Generator, limits: tuple[float, float], shape: int | tuple[int, ...]) -> Array:
    if limits[0] == limits[1]:  # exactly, which exp(log(x)) is not always
        return np.full(shape, float(limits[0]))
    return np.exp(generator.uniform(np.log(limits[0]), np.log(limits[1]), shape))
