"""On a CPU, by the native engine's kernels: depthwise convolution, batch norm with act, squeeze-and-excitation.

Between the 1x1 convolutions, which torch does well, a step is bound by memory. For batch norm and
h-swish torch reads or writes a map thirteen times, there and back; these do so eight times, keep
half as much of it, and in bfloat16 each time costs half. What is computed is the same:

    mean, var = moments of x
    z = gamma (x - mean) / sqrt(var + eps) + beta,  y = act(z)

Where several processes share a batch, the moments are those of all its parts. What comes back through
a gate and what comes back through its mean are maps that torch makes one by one and adds; here they are made as one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models.block import SqueezeExcite
from hswish.runtime.native import choose_level
from hswish.runtime.native.library import library
from hswish.train.kernels.global_norm import GlobalBatchNorm2d
from hswish.train.kernels.window import Window


def depthwise(x: Tensor, weight: Tensor, window: Window) -> Tensor:
    """Depthwise convolution of (N, C, H, W) by weights (C, 1, k, k)."""
    return cast(Tensor, _Depthwise.apply(x, weight, window))


def norm_act(x: Tensor, norm: nn.BatchNorm2d, act: int) -> Tensor:
    """Batch norm of (N, C, H, W) by its own moments, then non-linearity `act`; running moments follow."""
    return cast(Tensor, _NormAct.apply(x, norm.weight, norm.bias, norm, act))


def gated(x: Tensor, gate: SqueezeExcite) -> Tensor:
    """Squeeze-and-excitation of (N, C, H, W)."""
    return cast(Tensor, _Gated.apply(x, gate, *gate.parameters()))


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
        sums = torch.empty(2, channels, dtype=torch.float64)
        _kernels().moments(_rows(x), sums)
        shared = isinstance(norm, GlobalBatchNorm2d)
        count, sums = _of_all_processes(x.numel() // channels, sums) if shared else (x.numel() // channels, sums)
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
        ctx.act, ctx.kind, ctx.count, ctx.shared = act, gamma.dtype, count, shared
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, scale, shift, mean, inverse = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        sums = torch.empty(2, x.shape[1], dtype=torch.float64)
        _kernels().affine_sums(_rows(gradient), _rows(x), scale, shift, ctx.act, sums)
        of_gamma, of_beta = _of_norm(sums, mean, inverse)
        # The weights' gradients are of this process's part: their mean is taken later, with all others'.
        through = _of_norm(_of_all_processes(0, sums)[1], mean, inverse) if ctx.shared else (of_gamma, of_beta)
        slope = -scale.double() * through[0] * inverse / ctx.count
        offset = -scale.double() * through[1] / ctx.count - slope * mean
        of_x = torch.empty_like(x, memory_format=torch.channels_last)
        _kernels().affine_input(
            _rows(gradient), _rows(x), scale, shift, ctx.act, slope.float(), offset.float(), _rows(of_x)
        )
        return of_x, of_gamma.to(ctx.kind), of_beta.to(ctx.kind), None, None


class _Gated(torch.autograd.Function):
    """(N, C, H, W) times its gates, which the layers inside make of its means (N, C, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: SqueezeExcite, *weights: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        means = torch.empty(*x.shape[:2], 1, 1)
        _kernels().picture_sums(_rows(x), _rows(means))
        means /= x.shape[2] * x.shape[3]
        with torch.set_grad_enabled(any(ctx.needs_input_grad)):
            means.requires_grad_(torch.is_grad_enabled())
            gates = gate.gate(_pointwise(gate.act(_pointwise(means, gate.reduce)), gate.expand))
        scale = gates.detach().float()
        out = torch.empty_like(x, memory_format=torch.channels_last)
        _kernels().gate(_rows(x), _rows(scale), _rows(torch.zeros_like(scale)), _rows(out))
        ctx.save_for_backward(x, scale)
        ctx.means, ctx.gates, ctx.weights = means, gates, weights
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_gates = torch.empty_like(scale)
        _kernels().picture_products(_rows(gradient), _rows(x), _rows(of_gates))
        learning = [weight for weight in ctx.weights if weight.requires_grad]
        of_means, *found = torch.autograd.grad(ctx.gates, (ctx.means, *learning), of_gates.to(ctx.gates.dtype))
        of_x = torch.empty_like(x, memory_format=torch.channels_last)
        of_means = of_means / (x.shape[2] * x.shape[3])
        _kernels().gate(_rows(gradient), _rows(scale), _rows(of_means), _rows(of_x))
        given = iter(found)
        return of_x, None, *(next(given) if weight.requires_grad else None for weight in ctx.weights)


def _pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """1x1 convolution of (N, C, 1, 1) as the product of matrices that it is, which torch does sooner."""
    return F.linear(x.flatten(1), conv.weight.flatten(1), conv.bias)[..., None, None]


def _of_norm(sums: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of (gamma, beta) from the sums of dz and of x dz."""
    return inverse * (sums[1] - mean * sums[0]), sums[0]


def _of_all_processes(count: int, sums: Tensor) -> tuple[int, Tensor]:
    """How many values a channel all parts of the batch have, and the sums over them."""
    total = torch.cat([sums.new_tensor([count]), sums.flatten()])
    dist.all_reduce(total)
    return round(total[0].item()), total[1:].view_as(sums)


def _follow(norm: nn.BatchNorm2d, mean: Tensor, unbiased: Tensor) -> None:
    """Move the running moments towards a batch's."""
    momentum = norm.momentum
    assert momentum is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
