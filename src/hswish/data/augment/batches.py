"""Augmentation of whole batches on the device that holds them, by torch: what `augment` does one by one on the CPU.

    draw:   a generator  ->  (N, P) float32, all that is random about N items
    apply:  uint8 pictures and masks, drawn  ->  one sampling, colour, policy, erase, normalise

`apply` never waits for the device, never looks at values to decide on shapes, and makes the same kernels for
every batch of N, so that it may be recorded in a CUDA graph (after one call, which makes the constants).
Moves come before colours here, whatever the order in which a policy drew them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hswish.data.augment.batch_colour import adjusted, hue_turned
from hswish.data.augment.batch_geometry import Array, Size, crops, mirrors, moves, sampled, zooms
from hswish.data.augment.batch_policy import (
    STRENGTHS,
    apply_operation,
    draw_operation,
    operation_moves,
    operation_strengths,
)
from hswish.data.augment.pictures import mean_colour
from hswish.data.augment.settings import Augment
from hswish.spec.architecture import Task
from hswish.spec.errors import OptionError
from hswish.spec.palette import IGNORE_INDEX
from hswish.spec.preprocess import Preprocess

_MAP, _JITTER, _BOX = 6, 4, 4
"""Columns of what is drawn: the map, four changes of colour, the erased box; then the policy's operations."""
_ERASE_AREA, _ERASE_RATIO = (0.02, 0.33), (0.3, 3.3)
_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as cv2 and PIL have them."""


class BatchAugment:
    """Augments batches of pictures of one size, in the channel order of `preprocess`, and normalises them.

    Raises:
        OptionError: a crop of more than the picture is asked for.
    """

    def __init__(self, augment: Augment, preprocess: Preprocess, task: Task) -> None:
        if task == "classification" and augment.scale[1] > 1:
            raise OptionError(f"scale is the part of the area that a crop keeps, at most 1, not {augment.scale!r}")
        self.augment, self.preprocess, self.task = augment, preprocess, task
        self.size: Size = (preprocess.height, preprocess.width)
        self._operations = {"none": 0, "trivial": 1, "random": augment.policy_ops}[augment.policy]
        self._moved = self._operations > 0 or augment != Augment(
            **{name: value for name, value in vars(augment).items() if name not in _MOVING}
        )
        self._constants: dict[torch.device, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def draw(self, generator: np.random.Generator, count: int, source: Size) -> Tensor:
        """All that is random about N items.

        Args:
            source: (height, width) of the pictures that will be augmented.

        Returns:
            (N, P) float32 on the CPU; P depends on the policy alone.
        """
        augment, size = self.augment, self.size
        choose = crops if self.task == "classification" else zooms
        maps = choose(augment, source, size, generator, count)
        maps = maps @ mirrors(generator.random(count) < augment.mirror, size)
        turn, across, down = generator.uniform(-1, 1, (3, count))
        shift = across * augment.translate, down * augment.translate
        maps = maps @ moves(size, turn=turn * augment.rotate, shift=shift)
        widest = [augment.brightness, augment.contrast, augment.saturation, augment.hue]
        jitter = generator.uniform(-1, 1, (count, _JITTER)) * widest + (1, 1, 1, 0)
        colours = []
        for _ in range(self._operations):
            operation, signed, strength = draw_operation(augment, generator, count)
            maps = maps @ operation_moves(augment, operation, signed, size)
            colours.append(operation_strengths(augment, operation, signed, strength))
        boxes = _erased(augment.erase, size, generator, count)
        drawn = np.concatenate([maps[:, :2].reshape(count, _MAP), jitter, boxes, *colours], 1)
        return torch.from_numpy(drawn.astype(np.float32))

    def apply(self, pictures: Tensor, masks: Tensor | None, drawn: Tensor) -> tuple[Tensor, Tensor | None]:
        """Augment and normalise.

        Args:
            pictures: (N, H, W, C) uint8.
            masks: (N, H, W) uint8, or None.
            drawn: (N, P) float32 of `draw`, on the pictures' device.

        Returns:
            (N, C, h, w) float32, channels last, and (N, h, w) uint8 or None.
        """
        fill, grey, mean, std = self._on(pictures.device)
        augment = self.augment
        map_, jitter, box, *colours = drawn.split([_MAP, _JITTER, _BOX] + [STRENGTHS] * self._operations, 1)
        if self._moved or pictures.shape[1:3] != self.size:
            outside = fill if self.task == "segmentation" else None
            values, masks = sampled(pictures, masks, map_, self.size, outside)
        else:
            values = pictures.permute(0, 3, 1, 2).float()
        brightness, contrast, saturation, hue = (column.view(-1, 1, 1, 1) for column in jitter.unbind(1))
        if augment.brightness or augment.contrast or augment.saturation:
            values = adjusted(values, grey, brightness, contrast, saturation)
        if augment.hue and values.shape[1] == 3:
            # With red and blue changed over, the colour circle runs the other way round.
            values = hue_turned(values, -hue if self.preprocess.channels == "BGR" else hue)
        for strengths in colours:
            values = apply_operation(values, grey, strengths)
        if augment.erase:
            blotted = _inside(box, self.size)
            values = torch.where(blotted[:, None], fill, values)
            masks = None if masks is None else masks.masked_fill(blotted, IGNORE_INDEX)
        return ((values / 255 - mean) / std).contiguous(memory_format=torch.channels_last), masks

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fill colour, weights of grey, mean and standard deviation, each (C, 1, 1); copied once a device."""
        if device not in self._constants:
            fill, grey = (_in_order(rgb, self.preprocess) for rgb in (mean_colour(self.preprocess), _GREY))
            if self.preprocess.channels == "L":  # its fill is grey already, and a grey pixel its own grey
                fill, grey = fill[:1], (1.0,)
            rows = torch.tensor([fill, grey, self.preprocess.mean, self.preprocess.std], dtype=torch.float32)
            fill_, grey_, mean, std = rows[..., None, None].to(device).unbind()
            self._constants[device] = fill_, grey_, mean, std
        return self._constants[device]


_MOVING = ("scale", "ratio", "mirror", "rotate", "translate")
"""Fields of `Augment` that move pixels."""


def _in_order(rgb: tuple[float, ...], preprocess: Preprocess) -> tuple[float, ...]:
    """Values of red, green and blue, in the order of the input's channels."""
    return rgb[::-1] if preprocess.channels == "BGR" else rgb


def _erased(probability: float, size: Size, generator: np.random.Generator, count: int) -> Array:
    """Boxes (left, top, right, bottom) in pixels, (N, 4), as A.Erasing draws them; empty where nothing is erased."""
    height, width = size
    low, high = _ERASE_RATIO
    least = _ERASE_AREA[0] * height * width
    # So large that every ratio still fits
    most = min(_ERASE_AREA[1] * height * width, low * height**2, width**2 / high)
    erased = generator.random(count) < (probability if most >= least else 0.0)
    area = generator.uniform(least, max(least, most), count)
    ratio = generator.uniform(np.maximum(low, area / height**2), np.minimum(high, width**2 / area))
    high_px, wide_px = (
        np.minimum(np.rint(np.sqrt(side)), limit) for side, limit in ((area / ratio, height), (area * ratio, width))
    )
    top = np.floor(generator.random(count) * (height - high_px + 1))
    left = np.floor(generator.random(count) * (width - wide_px + 1))
    return np.stack([left, top, left + wide_px, top + high_px], 1) * erased[:, None]


def _inside(boxes: Tensor, size: Size) -> Tensor:
    """(N, h, w) bool: which pixels lie in their item's box (N, 4)."""
    left, top, right, bottom = (edge.view(-1, 1, 1) for edge in boxes.unbind(1))
    x = torch.arange(size[1], device=boxes.device)
    y = torch.arange(size[0], device=boxes.device)[:, None]
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)
