"""Averaged weights, which generalise better than the last ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and batch-norm statistics, with its own warm-up.

    Early on the average follows the weights closely, (1 + n) / (10 + n) after n steps, so
    that short runs are not held back by where they began.
    """
    return AveragedModel(model, multi_avg_fn=_ema(decay), use_buffers=True)


def _ema(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    @torch.no_grad()
    def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        now = min(decay, (1 + steps) / (10 + steps))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, 1 - now)
        else:  # the batch counters
            torch._foreach_copy_(averages, currents)

    return update
