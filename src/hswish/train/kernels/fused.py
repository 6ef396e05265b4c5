"""Units of a network that train by kernels of ours: convolution, batch norm and non-linearity; squeeze-and-excitation.

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
from hswish.models.block import ConvNormAct, SameConv2d, SqueezeExcite, pad_same
from hswish.runtime.native import NativeAbsentError
from hswish.runtime.native.library import library
from hswish.train.kernels.global_norm import GlobalBatchNorm2d
from hswish.train.kernels.window import Window

_ACTS: dict[type[nn.Module], int] = {nn.ReLU: 1, HSwish: 2}
_TYPES = (torch.float32, torch.bfloat16)


class Kernels(NamedTuple):
    """What a kind of device has."""

    device: str
    depthwise: Callable[[Tensor, Tensor, Window], Tensor]
    norm_act: Callable[[Tensor, nn.BatchNorm2d, int], Tensor]
    norms: tuple[type[nn.Module], ...] = (nn.BatchNorm2d,)
    """of which batch norms"""
    gated: Callable[[Tensor, SqueezeExcite], Tensor] | None = None
    """squeeze-and-excitation, where there is a kernel for it"""


def fuse(model: nn.Module, device: str = "cpu") -> int:
    """Have the network's units train by the kernels of a kind of device, where the install has them.

    Returns:
        How many units changed; 0 without kernels.
    """
    kernels = _kernels_for(device)
    if kernels is None:
        return 0
    changed = 0
    for unit in model.modules():
        if isinstance(unit, ConvNormAct) and _suits(unit, kernels):
            forward = types.MethodType(_forward, unit)
        elif isinstance(unit, SqueezeExcite) and _gate_suits(unit, kernels):
            forward = types.MethodType(_gated_forward, unit)
        else:
            continue
        unit.kernels = kernels  # type: ignore[assignment]
        unit.forward = forward  # type: ignore[method-assign]
        changed += 1
    return changed


def _kernels_for(device: str) -> Kernels | None:
    if device == "cpu":
        try:
            library("training on the CPU")
        except NativeAbsentError:
            return None
        from hswish.train.kernels import fused_cpu

        norms = (nn.BatchNorm2d, GlobalBatchNorm2d)
        return Kernels(device, fused_cpu.depthwise, fused_cpu.norm_act, norms, fused_cpu.gated)
    if device == "cuda" and find_spec("triton") is not None:
        from hswish.train.kernels import fused_gpu

        return Kernels(device, fused_gpu.depthwise, fused_gpu.norm_act)
    return None


def _suits(unit: ConvNormAct, kernels: Kernels) -> bool:
    """Whether the kernels cover this unit: a batch norm of theirs, a width in eights, no hooks within."""
    act = getattr(unit, "act", None)
    return (
        type(unit.norm) in kernels.norms
        and unit.norm.num_features % 8 == 0
        and unit.norm.momentum is not None
        and (act is None or type(act) in _ACTS)
        and not _hooked(unit)
    )


def _gate_suits(gate: SqueezeExcite, kernels: Kernels) -> bool:
    return kernels.gated is not None and gate.reduce.in_channels % 8 == 0 and not _hooked(gate)


def _hooked(unit: nn.Module) -> bool:
    return any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in unit.children())


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
    if type(norm) is nn.BatchNorm2d and y.numel() == y.shape[1]:  # torch says what is wrong with a single value
        F.batch_norm(y, None, None, training=True)
    act = _ACTS[type(unit.act)] if hasattr(unit, "act") else 0
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return kernels.norm_act(y, norm, act)


def _gated_forward(gate: SqueezeExcite, x: Tensor) -> Tensor:
    """Squeeze-and-excitation of x (N, C, H, W)."""
    kernels: Kernels = gate.kernels  # type: ignore[assignment]
    known = x.device.type == kernels.device and x.dtype in _TYPES
    if kernels.gated is None or not gate.training or not known or not x.numel():
        return SqueezeExcite.forward(gate, x)
    return kernels.gated(x, gate)
