"""From logits to answers, in numpy: probabilities of classes, and masks at the picture's own size.

The mask equals torch's `interpolate(logits, size, mode="bilinear", align_corners=False)`
followed by `argmax`, computed strip by strip and class by class, so that the logits of a
huge picture never stand in memory at full size. Where this install has the native engine, a kernel of it
(`native/masks.cpp`) makes the same mask, to the bit, in a twentieth of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.runtime.native.library import choose_level, is_present, library
from hswish.spec.artifact import Description
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.interface import Interface
from hswish.spec.palette import IGNORE_INDEX

_STRIP_PIXELS = 2**18
"""Pixels of the mask made at once: 1 MB a float plane, which stays in a core's cache."""
_CACHED = 2**17
"""Floats that stay in a core's cache while they are copied."""


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Probabilities (N, K) float32 of logits (N, K); every row sums to 1."""
    shifted = np.asarray(logits, np.float64)  # so that rows of 1000 classes still sum to 1
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def mask_at_size(logits: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The most likely class of each pixel, (H, W) uint8, of logits (K, h, w) scaled to `size`.

    Bilinear with half-pixel centres, not antialiased; of equal logits the first class wins.

    Args:
        logits: (K, h, w), any float type.
        size: (H, W) in pixels, the picture's own size.

    Raises:
        OptionError: more classes than a mask of bytes can hold, or an empty size.
    """
    classes, low_height, low_width = logits.shape
    height, width = size
    if classes > IGNORE_INDEX:
        raise OptionError(f"a mask of bytes holds at most {IGNORE_INDEX} classes, the model has {classes}")
    if height < 1 or width < 1:
        raise OptionError(f"a mask needs at least one pixel, not {height}x{width}")
    logits = np.asarray(logits, np.float32)
    mask = np.empty((height, width), np.uint8)
    if is_present():
        _fill_natively(mask, logits)
    elif (low_height, low_width) == (height, width):
        mask[:] = logits.argmax(axis=0)
    else:
        _fill(mask, logits)
    return mask


def _fill_natively(mask: NDArray[np.uint8], logits: NDArray[np.float32]) -> None:
    engine = library("making masks")
    axes = [_neighbours(low, full) for low, full in zip(logits.shape[1:], mask.shape, strict=True)]
    places = [
        array for first, second, weight in axes for array in (first.astype(np.int32), second.astype(np.int32), weight)
    ]
    engine.fill_mask(choose_level(engine), _in_planes(logits), *places, mask)


def _in_planes(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (K, h, w) that lie so in memory; of channels last, say, a copy."""
    if logits.flags.c_contiguous:
        return logits
    planes = np.empty(logits.shape, np.float32)
    classes, height, width = logits.shape
    rows = max(1, _CACHED // (classes * width))
    for start in range(0, height, rows):  # a part that stays in the cache, plane by plane
        strip = slice(start, start + rows)
        for plane, given in zip(planes, logits, strict=True):
            plane[strip] = given[strip]
    return planes


def _fill(mask: NDArray[np.uint8], logits: NDArray[np.float32]) -> None:
    height, width = mask.shape
    top, bottom, down = _neighbours(logits.shape[1], height)
    rows = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, rows):
        strip = slice(start, start + rows)
        first, last = int(top[strip][0]), int(bottom[strip][-1])
        _fill_strip(
            mask[strip], logits[:, first : last + 1], top[strip] - first, bottom[strip] - first, down[strip, None]
        )


def _fill_strip(
    mask: NDArray[np.uint8],
    logits: NDArray[np.float32],
    top: NDArray[np.intp],
    bottom: NDArray[np.intp],
    down: NDArray[np.float32],
) -> None:
    """Write the classes of one strip, `mask` (rows, W), from the logits (K, h', w) it looks at."""
    left, right, across = _neighbours(logits.shape[2], mask.shape[1])
    used, place = np.unique(np.concatenate((top, bottom)), return_inverse=True)  # down-scaling skips rows
    top, bottom = place[: len(top)], place[len(top) :]
    best: NDArray[np.float32] | None = None
    mask[:] = 0
    for index, low in enumerate(logits):
        low = low[used]
        wide = low[:, left] * (1 - across) + low[:, right] * across  # (h', W)
        plane = wide[top] * (1 - down)
        plane += wide[bottom] * down  # (rows, W)
        if best is None:
            best = plane
            continue
        np.copyto(mask, np.uint8(index), where=plane > best)
        np.maximum(best, plane, out=best)


def _neighbours(low: int, full: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `full` places the two of `low` it lies between, and the weight of the second."""
    # float32 in torch's order of operations, so that near-ties fall the same way.
    centres = np.float32(low / full) * (np.arange(full, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    centres = centres.clip(0, low - 1)
    first = centres.astype(np.intp)
    second = np.minimum(first + 1, low - 1)
    return first, second, centres - first.astype(np.float32)


def check_logits(
    logits: NDArray[np.floating], description: Description, count: int, name: str | None = None
) -> NDArray[np.float32]:
    """`logits` as float32, once they are known to be the model's answer to `count` pictures.

    Args:
        name: the model's file, for errors; its architecture by default.

    Raises:
        ModelFileError: another shape than the description promises, or values not finite.
    """
    classes, dims = len(description.classes), 4 if description.task == "segmentation" else 2
    if logits.ndim != dims or logits.shape[:2] != (count, classes):
        raise ModelFileError(
            f"{name or description.model}: gives {tuple(logits.shape)} for {count} pictures of {classes} classes; "
            "the model file contradicts itself, export it again"
        )
    if not np.isfinite(logits).all():
        raise ModelFileError(
            f"{name or description.model}: its outputs are not finite numbers; the weights are damaged, "
            "or training diverged (train again with a lower learning rate)"
        )
    return np.asarray(logits, np.float32)


def nearest_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask (h, w) of classes at `size` (H, W): each pixel takes the class of the nearest one."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def check_answer(
    answer: NDArray[Any], interface: Interface, description: Description, count: int, name: str | None = None
) -> NDArray[Any]:
    """Logits, or masks where the file gives those, once they are known to answer `count` pictures.

    Raises:
        ModelFileError: see `check_logits`; a mask of another shape, or with a class that is not there.
    """
    if interface.gives == "logits":
        return check_logits(answer, description, count, name)
    good = answer.ndim == 3 and len(answer) == count and answer.dtype == np.uint8
    if not good or answer.max(initial=0) >= len(description.classes):
        raise ModelFileError(
            f"{name or description.model}: gives masks {tuple(answer.shape)} with classes up to "
            f"{answer.max(initial=0)} of {len(description.classes)}; export the model again"
        )
    return answer
