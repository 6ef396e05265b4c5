"""Training on a CPU by the native engine's kernels: depthwise convolutions, and batch norm with its non-linearity.

Between the 1x1 convolutions, which torch does well, a step is bound by memory. For batch norm and
h-swish torch reads or writes a map thirteen times, there and back; these do so eight times, keep
half as much of it, and in bfloat16 each time costs half. What is computed is the same:

    mean, var = moments of x
    z = gamma (x - mean) / sqrt(var + eps) + beta,  y = act(z)
"""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models.activations import HSwish
from hswish.models.block import ConvNormAct, SameConv2d, pad_same
from hswish.runtime.native import NativeAbsentError, choose_level
from hswish.runtime.native.library import library

_ACTS: dict[type[nn.Module], int] = {nn.ReLU: 1, HSwish: 2}
_TYPES = (torch.float32, torch.bfloat16)


def fuse(model: nn.Module) -> int:
    """Have the network's units train by the native kernels, where the install has them.

    Weights and their names, evaluation, other devices and other types of number stay with torch.

    Returns:
        How many units changed; 0 without a native engine.
    """
    try:
        library("training on the CPU")
    except NativeAbsentError:
        return 0
    units = [unit for unit in model.modules() if isinstance(unit, ConvNormAct) and _suits(unit)]
    for unit in units:
        unit.forward = types.MethodType(_forward, unit)  # type: ignore[method-assign]
    return len(units)


def _suits(unit: ConvNormAct) -> bool:
    """Whether the kernels cover this unit: plain batch norm, a width in eights, no hooks within."""
    act = getattr(unit, "act", None)
    hooked = any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in unit.children())
    return (
        type(unit.norm) is nn.BatchNorm2d
        and unit.norm.num_features % 8 == 0
        and unit.norm.momentum is not None
        and (act is None or type(act) in _ACTS)
        and not hooked
    )


def _forward(unit: ConvNormAct, x: Tensor) -> Tensor:
    """The unit's forward pass; x (N, C, H, W)."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    conv, norm = unit.conv, unit.norm
    if not norm.training or x.device.type != "cpu" or kind not in _TYPES or not x.numel():
        return nn.Sequential.forward(unit, x)
    window = _window_of(conv)
    if window is None:
        y = conv(x)
    else:
        x = x.to(kind)
        if isinstance(conv, SameConv2d):
            x = pad_same(x, conv.kernel_size[0], conv.stride[0])
        y = cast(Tensor, _Depthwise.apply(x, conv.weight, window))
    if y.numel() == y.shape[1]:  # torch says what is wrong with a single value a channel
        F.batch_norm(y, None, None, training=True)
    act = _ACTS[type(unit.act)] if hasattr(unit, "act") else 0
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return cast(Tensor, _NormAct.apply(y, norm.weight, norm.bias, norm, act))


class _Window(NamedTuple):
    """How a depthwise convolution slides."""

    stride: int
    dilation: int
    padding: int


def _window_of(conv: nn.Conv2d) -> _Window | None:
    """None where torch is to do the convolution."""
    kernel, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
    depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1
    fits = kernel in (3, 5) and (stride == 1 or (stride == 2 and dilation == 1)) and isinstance(conv.padding, tuple)
    return _Window(stride, dilation, int(conv.padding[0])) if depthwise and fits else None


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
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: _Window) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        taps = weight.detach().float().contiguous()
        reach = (taps.shape[-1] - 1) * window.dilation
        height, width = ((side + 2 * window.padding - reach - 1) // window.stride + 1 for side in x.shape[2:])
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
