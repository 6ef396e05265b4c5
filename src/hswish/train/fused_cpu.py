"""On a CPU, by the native engine's kernels: depthwise convolutions, and batch norm with its non-linearity.

Between the 1x1 convolutions, which torch does well, a step is bound by memory. For batch norm and
h-swish torch reads or writes a map thirteen times, there and back; these do so eight times, keep
half as much of it, and in bfloat16 each time costs half. What is computed is the same:

    mean, var = moments of x
    z = gamma (x - mean) / sqrt(var + eps) + beta,  y = act(z)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from hswish.runtime.native import choose_level
from hswish.runtime.native.library import library
from hswish.train.window import Window


def depthwise(x: Tensor, weight: Tensor, window: Window) -> Tensor:
    """Depthwise convolution of (N, C, H, W) by weights (C, 1, k, k)."""
    return cast(Tensor, _Depthwise.apply(x, weight, window))


def norm_act(x: Tensor, norm: nn.BatchNorm2d, act: int) -> Tensor:
    """Batch norm of (N, C, H, W) by its own moments, then non-linearity `act`; running moments follow."""
    return cast(Tensor, _NormAct.apply(x, norm.weight, norm.bias, norm, act))


@lru_cache(maxsize=8)
def _kernels_for(level: str, threads: int) -> Any:
    return library("training on the CPU").TrainingKernels(level, threads)


def _kernels() -> Any:
    return _kernels_for(choose_level(library("training on the CPU")), torch.get_num_threads())


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory seen as (N, H, W, C)."""
    return x.detach().permute(0, 2, 3, 1)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution of (N, C, H, W) by weights (C, 1, k, k)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Window) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        taps = weight.detach().float().contiguous()
        height, width = window.out_size(x.shape[2], x.shape[3], taps.shape[-1])
        out = torch.empty((*x.shape[:2], height, width), dtype=x.dtype, memory_format=torch.channels_last)
        _kernels().depthwise(_rows(x), taps, _rows(out), *window)
        ctx.save_for_backward(x, taps)
        ctx.window, ctx.kind = window, weight.dtype
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, taps = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = torch.empty_like(x, memory_format=torch.channels_last)
            _kernels().depthwise_input(_rows(gradient), taps, _rows(of_x), *ctx.window)
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(taps)
            _kernels().depthwise_weights(_rows(gradient), _rows(x), of_weight, *ctx.window)
            of_weight = of_weight.to(ctx.kind)
        return of_x, of_weight, None


class _NormAct(torch.autograd.Function):
    """Batch norm of (N, C, H, W) by its own moments, then the non-linearity; running moments are updated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, norm: nn.BatchNorm2d, act: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        channels = x.shape[1]
        count = x.numel() // channels
        sums = torch.empty(2, channels, dtype=torch.float64)
        _kernels().moments(_rows(x), sums)
        mean = sums[0] / count
        var = (sums[1] / count - mean * mean).clamp_min_(0)
        _follow(norm, mean, var * (count / max(count - 1, 1)))
        inverse = (var + norm.eps).rsqrt()
        scale = gamma.detach().double() * inverse
        shift = beta.detach().double() - mean * scale
        scale, shift = scale.float(), shift.float()
        out = torch.empty_like(x, memory_format=torch.channels_last)
        _kernels().affine(_rows(x), scale, shift, act, _rows(out))
        ctx.save_for_backward(x, scale, shift, mean, inverse)
        ctx.act, ctx.kind = act, gamma.dtype
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, scale, shift, mean, inverse = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        count = x.numel() // x.shape[1]
        sums = torch.empty(2, x.shape[1], dtype=torch.float64)
        _kernels().affine_sums(_rows(gradient), _rows(x), scale, shift, ctx.act, sums)
        of_beta = sums[0]
        of_gamma = inverse * (sums[1] - mean * sums[0])
        slope = -scale.double() * of_gamma * inverse / count
        offset = -scale.double() * of_beta / count - slope * mean
        of_x = torch.empty_like(x, memory_format=torch.channels_last)
        _kernels().affine_input(
            _rows(gradient), _rows(x), scale, shift, ctx.act, slope.float(), offset.float(), _rows(of_x)
        )
        return of_x, of_gamma.to(ctx.kind), of_beta.to(ctx.kind), None, None


def _follow(norm: nn.BatchNorm2d, mean: Tensor, unbiased: Tensor) -> None:
    """Move the running moments towards a batch's."""
    momentum = norm.momentum
    assert momentum is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
