"""On a GPU, by the kernels of `triton_kernels.py`: depthwise convolutions, and batch norm with its non-linearity.

cuDNN's depthwise convolutions for maps that are channels last reach a fraction of the memory's rate, and torch
reads and writes a map for the norm and again for the non-linearity. What is computed is what `fused_cpu.py` computes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from hswish.train.kernels import triton_kernels
from hswish.train.kernels.window import Window

_CHUNKS = 1024
"""Programs that share the sums over a map's pixels, over all blocks of channels: about eight a multiprocessor."""
_END = (128, 16)
"""Chunks and channels of a tile of their sums."""


def depthwise(x: Tensor, weight: Tensor, window: Window) -> Tensor:
    """Depthwise convolution of (N, C, H, W) by weights (C, 1, k, k)."""
    return cast(Tensor, _Depthwise.apply(x, weight, window))


def norm_act(x: Tensor, norm: nn.BatchNorm2d, act: int) -> Tensor:
    """Batch norm of (N, C, H, W) by its own moments, then non-linearity `act`; running moments follow."""
    return cast(Tensor, _NormAct.apply(x, norm.weight, norm.bias, norm, act))


class _Tiling(NamedTuple):
    """How a map of so many pixels and eighths of channels is shared among programs."""

    pixels: int
    eighths: int
    block_p: int
    block_c: int

    @classmethod
    def of(cls, pixels: int, channels: int, elements: int) -> _Tiling:
        """Tiles of `elements` numbers, as wide as leaves the fewest idle at the last block of channels."""
        block_c = min((64, 32), key=lambda size: -(-channels // size) * size) if channels > 16 else 16
        return cls(pixels, channels // 8, elements // block_c, block_c)

    @property
    def blocks(self) -> int:
        return -(-self.eighths * 8 // self.block_c)

    @property
    def grid(self) -> tuple[int, int]:
        """One program a tile."""
        return -(-self.pixels // self.block_p), self.blocks

    def chunks(self, programs: int = _CHUNKS) -> tuple[int, int]:
        """(chunks, tiles in each) for sums over the pixels."""
        tiles = -(-self.pixels // self.block_p)
        chunks = max(1, min(tiles, programs // self.blocks))
        each = -(-tiles // chunks)
        return -(-tiles // each), each


def _of(x: Tensor, elements: int = 2048) -> _Tiling:
    return _Tiling.of(x.numel() // x.shape[1], x.shape[1], elements)


def _map_like(x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    height, width = size or x.shape[2:]
    shape = (*x.shape[:2], int(height), int(width))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Window) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        kernel = weight.shape[-1]
        taps = weight.detach()[:, 0].permute(1, 2, 0).float().contiguous()  # eight neighbours are loaded at once
        out = _map_like(x, window.out_size(x.shape[2], x.shape[3], kernel))
        tiling = _of(out)
        triton_kernels.depthwise[tiling.grid](
            x, taps, out, tiling.pixels, *x.shape[2:], *out.shape[2:], tiling.eighths,
            kernel, *window, tiling.block_p, tiling.block_c,
        )  # fmt: skip
        ctx.save_for_backward(x, taps)
        ctx.window, ctx.kind = window, weight.dtype
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, taps = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        sizes, kernel, window = (*x.shape[2:], *gradient.shape[2:]), taps.shape[0], ctx.window
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _map_like(x)
            tiling = _of(of_x)
            triton_kernels.depthwise_input[tiling.grid](
                gradient, taps, of_x, tiling.pixels, *sizes, tiling.eighths,
                kernel, *window, tiling.block_p, tiling.block_c,
            )  # fmt: skip
        if ctx.needs_input_grad[1]:
            tiling = _of(gradient, 1024)  # up to five of them are summed at once
            chunks, tiles = tiling.chunks(_CHUNKS // 2)  # there is one for each row of the taps
            sums = torch.empty((chunks, x.shape[1], 1, kernel, kernel), device=x.device)
            triton_kernels.depthwise_weights[kernel, tiling.blocks, chunks](
                gradient, x, sums, tiling.pixels, *sizes, tiling.eighths, tiles,
                kernel, *window, tiling.block_p, tiling.block_c,
            )  # fmt: skip
            of_weight = sums.sum(0).to(ctx.kind)
        return of_x, of_weight, None


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, norm: nn.BatchNorm2d, act: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        tiling = _of(x)
        (pixels, eighths, *blocks), channels = tiling, x.shape[1]
        chunks, tiles = tiling.chunks()
        sums = torch.empty((chunks, 2, channels), device=x.device)
        triton_kernels.moments[tiling.blocks, chunks](x, sums, pixels, eighths, tiles, *blocks)
        kept = torch.empty((4, channels), device=x.device)
        triton_kernels.moments_end[-(-channels // _END[1]),](
            sums, gamma, beta, norm.running_mean, norm.running_var, kept,
            chunks, float(pixels), eighths, norm.momentum, norm.eps, *_END,
        )  # fmt: skip
        out = _map_like(x)
        triton_kernels.affine[tiling.grid](x, kept, out, pixels, eighths, act, *blocks)
        ctx.save_for_backward(x, kept)
        ctx.act, ctx.kind = act, gamma.dtype
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, kept = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        tiling = _of(x)
        (pixels, eighths, *blocks), channels = tiling, x.shape[1]
        chunks, tiles = tiling.chunks()
        sums = torch.empty((chunks, 2, channels), device=x.device)
        triton_kernels.affine_sums[tiling.blocks, chunks](
            gradient, x, kept, sums, pixels, eighths, tiles, ctx.act, *blocks
        )
        of_gamma, of_beta, line = (torch.empty((*lines, channels), device=x.device) for lines in ((), (), (2,)))
        triton_kernels.gradients_end[-(-channels // _END[1]),](
            sums, kept, of_gamma, of_beta, line, chunks, float(pixels), eighths, *_END
        )
        of_x = _map_like(x)
        triton_kernels.affine_input[tiling.grid](gradient, x, kept, line, of_x, pixels, eighths, ctx.act, *blocks)
        return of_x, of_gamma.to(ctx.kind), of_beta.to(ctx.kind), None, None
