"""Batch norm over the batches of all processes, on any device.

torch's own `SyncBatchNorm` runs on GPUs only; a run on several CPU processes is to be the
run of one process with the same global batch, too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Total(torch.autograd.Function):
    """The sum over processes; so is its gradient, for each process's loss depends on every process's input."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose mean and variance are those of the global batch; (N, C, H, W) each."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # sums of half-precision values would overflow
        count = wide.new_tensor([x.numel() / x.shape[1]])
        dist.all_reduce(count)
        mean = _Total.apply(wide.sum((0, 2, 3))) / count
        # In two passes: the mean of squares less the square of the mean would cancel.
        centred = wide - mean[:, None, None]
        variance = _Total.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            share = self.momentum or 0.0
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), share)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def with_global_norms(model: nn.Module, device: torch.device) -> None:
    """Let every batch norm inside `model` see the global batch; names and values stay."""
    for name, child in list(model.named_children()):
        if type(child) is nn.BatchNorm2d:
            kind = nn.SyncBatchNorm if device.type == "cuda" else GlobalBatchNorm2d
            norm = kind(child.num_features, child.eps, child.momentum)
            norm.weight, norm.bias = child.weight, child.bias
            norm.running_mean, norm.running_var = child.running_mean, child.running_var
            norm.num_batches_tracked = child.num_batches_tracked
            setattr(model, name, norm)
        else:
            with_global_norms(child, device)
