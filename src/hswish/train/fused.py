"""Units of a network that train by kernels of ours: depthwise convolution, batch norm with its non-linearity.

Which kernels is a matter of the device: the native engine's on a CPU (`fused_cpu.py`), Triton's on a GPU
(`fused_gpu.py`). Weights and their names, evaluation, and other types of number stay with torch.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models.activations import HSwish
from hswish.models.block import ConvNormAct, SameConv2d, pad_same
from hswish.runtime.native import NativeAbsentError
from hswish.runtime.native.library import library
from hswish.train.window import Window

_ACTS: dict[type[nn.Module], int] = {nn.ReLU: 1, HSwish: 2}
_TYPES = (torch.float32, torch.bfloat16)


class Kernels(NamedTuple):
    """What a kind of device has."""

    device: str
    depthwise: Callable[[Tensor, Tensor, Window], Tensor]
    norm_act: Callable[[Tensor, nn.BatchNorm2d, int], Tensor]


def fuse(model: nn.Module, device: str = "cpu") -> int:
    """Have the network's units train by the kernels of a kind of device, where the install has them.

    Returns:
        How many units changed; 0 without kernels.
    """
    kernels = _kernels_for(device)
    if kernels is None:
        return 0
    units = [unit for unit in model.modules() if isinstance(unit, ConvNormAct) and _suits(unit)]
    for unit in units:
        unit.kernels = kernels  # type: ignore[assignment]
        unit.forward = types.MethodType(_forward, unit)  # type: ignore[method-assign]
    return len(units)


def _kernels_for(device: str) -> Kernels | None:
    if device == "cpu":
        try:
            library("training on the CPU")
        except NativeAbsentError:
            return None
        from hswish.train import fused_cpu

        return Kernels(device, fused_cpu.depthwise, fused_cpu.norm_act)
    if device == "cuda" and find_spec("triton") is not None:
        from hswish.train import fused_gpu

        return Kernels(device, fused_gpu.depthwise, fused_gpu.norm_act)
    return None


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
    kernels: Kernels = unit.kernels  # type: ignore[assignment]
    kind = torch.get_autocast_dtype(kernels.device) if torch.is_autocast_enabled(kernels.device) else x.dtype
    conv, norm = unit.conv, unit.norm
    if not norm.training or x.device.type != kernels.device or kind not in _TYPES or not x.numel():
        return nn.Sequential.forward(unit, x)
    window = Window.of(conv)
    if window is None:
        y = conv(x)
    else:
        x = x.to(kind)
        if isinstance(conv, SameConv2d):
            x = pad_same(x, conv.kernel_size[0], conv.stride[0])
        y = kernels.depthwise(x, conv.weight, window)
    if y.numel() == y.shape[1]:  # torch says what is wrong with a single value a channel
        F.batch_norm(y, None, None, training=True)
    act = _ACTS[type(unit.act)] if hasattr(unit, "act") else 0
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return kernels.norm_act(y, norm, act)
