"""Averaged weights, which generalise better than the last ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Average(AveragedModel):
    """Exponential moving average of weights and batch-norm statistics, with its own warm-up.

    Early on the average follows the weights closely, (1 + n) / (10 + n) after n steps, so
    that short runs are not held back by where they began.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow `model` by one step; asks the device for no value, so that it can be recorded."""
        count = self.n_averaged
        share = 1 - ((1 + count) / (10 + count)).clamp(max=self.decay)
        share = torch.where(count == 0, torch.ones_like(share), share)
        averages, currents = _tensors(self.module), _tensors(model)
        pairs = list(zip(averages, currents, strict=True))
        weights = [pair for pair in pairs if pair[0].is_floating_point()]
        ours, theirs = [mine for mine, _ in weights], [other for _, other in weights]
        steps = torch._foreach_sub(theirs, ours)
        torch._foreach_mul_(steps, share)
        torch._foreach_add_(ours, steps)
        for mine, other in pairs:
            if not mine.is_floating_point():  # the batch counters
                mine.copy_(other)
        count.add_(1)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
