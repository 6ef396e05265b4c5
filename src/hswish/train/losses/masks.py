"""What a step sees of masks: of each, every so many rows and columns, and a second one from a middle map.

The logits of a segmenter are an eighth of the picture, enlarged smoothly: neighbouring pixels say
nearly the same, yet cost their full share of softmax and loss. `Grid` leaves most of them out,
others at each step, so that over the steps every pixel is learnt (the gradient's mean is unchanged).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hswish.models.lraspp import upsample
from hswish.models.segmenter import Segmenter
from hswish.spec.errors import OptionError
from hswish.train.recipe_groups import Loss


def check_strides(loss: Loss, height: int, width: int) -> None:
    """Raises OptionError: a stride of `loss` leads past an input of so many pixels, where most steps would see none."""
    side = min(height, width)
    used = ("stride", "region_stride") if loss.region != "none" else ("stride",)
    for name in used:
        if getattr(loss, name) > side:
            raise OptionError(
                f"loss.{name}={getattr(loss, name)} is more than the input's {height}x{width} pixels have rows or "
                f"columns, so steps would learn from no pixel; use --set loss.{name}={min(2, side)}, or {side} at most"
            )


class Grid(NamedTuple):
    """Every `stride`-th row from `top`, every `stride`-th column from `left`.

    In a recorded step, `top` and `left` are tensors, read anew at each replay; sides are then multiples of `stride`.
    """

    stride: int = 1
    top: int | Tensor = 0
    left: int | Tensor = 0

    @classmethod
    def drawn(cls, stride: int, seed: int, step: int) -> Grid:
        """That of a step; the same for all its batches and processes."""
        return cls(stride, *np.random.default_rng((seed, step)).integers(stride, size=2).tolist())

    def of(self, pixels: Tensor) -> Tensor:
        """(..., H, W) to (..., h, w)."""
        if self.stride == 1:  # a slice would ask a recorded step where it begins
            return pixels
        return pixels[..., self.top :: self.stride, self.left :: self.stride]


class SegmenterInTraining(nn.Module):
    """x (N, C, H, W) to logits (N, K, h, w) on a grid of its pixels, and auxiliary logits or None.

    The auxiliary mask is made from the last map before the last stage, so that the layers below
    are taught directly (PSPNet, arXiv 1612.01105). No model file holds it.
    """

    def __init__(self, model: Segmenter, auxiliary: bool) -> None:
        super().__init__()
        self.model = model
        self.auxiliary: nn.Module | None = None
        self.taps = model.taps
        if auxiliary:
            blocks = model.architecture.backbone.blocks
            middle = _middle(tuple(block.out_channels for block in blocks))
            self.taps = (*self.taps, f"blocks.{middle}")
            self.auxiliary = nn.Sequential(
                nn.Conv2d(blocks[middle].out_channels, 64, 3, padding=1, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(),
                nn.Conv2d(64, model.architecture.options.num_classes, 1),
            )

    def forward(self, x: Tensor, grid: Grid = Grid()) -> tuple[Tensor, Tensor | None]:  # noqa: B008 - a value
        high, *others = self.model.backbone.taps(x, self.taps)
        skips = others[: len(self.model.taps) - 1]
        logits = self._enlarged(self.model.head(high, skips), x, grid)
        return logits, self._enlarged(self.auxiliary(others[-1]), x, grid) if self.auxiliary is not None else None

    def _enlarged(self, logits: Tensor, x: Tensor, grid: Grid) -> Tensor:
        if grid.stride == 1:
            return upsample(logits, x, align_corners=self.model.align_corners)
        height, width = x.shape[-2:]
        return upsample_on(logits, (height, width), grid, align_corners=self.model.align_corners)


def upsample_on(logits: Tensor, size: tuple[int, int], grid: Grid, align_corners: bool = False) -> Tensor:
    """`upsample` of (N, K, h, w) to `size`, at the pixels of `grid` alone; float32."""
    with torch.autocast(logits.device.type, enabled=False):
        small = logits.float().contiguous()
        rows, columns = (
            _weights(inside, outside, first, grid.stride, align_corners, small.device)
            for inside, outside, first in zip(small.shape[-2:], size, grid[1:], strict=True)
        )
        return rows @ (small @ columns.T)


def _weights(
    inside: int, outside: int, first: int | Tensor, stride: int, align_corners: bool, device: torch.device
) -> Tensor:
    """How the pixels first, first + stride, ... of a line of `outside` mix a line of `inside`; (those, inside)."""
    count = outside // stride if isinstance(first, Tensor) else len(range(first, outside, stride))
    at = first + stride * torch.arange(count, dtype=torch.float64, device=device)
    if align_corners:
        at = at * ((inside - 1) / max(outside - 1, 1))
    else:
        at = ((at + 0.5) * (inside / outside) - 0.5).clamp(0, inside - 1)
    return (1 - (at[:, None] - torch.arange(inside, device=device)).abs()).clamp(min=0).float()


def _middle(widths: tuple[int, ...]) -> int:
    """Index of the block before the last stage, which is the run of blocks of the last width."""
    index = len(widths) - 1
    while index > 0 and widths[index] == widths[-1]:
        index -= 1
    return index
