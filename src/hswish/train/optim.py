"""Optimizers, the course of the learning rate, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hswish.train.recipe import Recipe


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; batch norms and biases carry no weight decay."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    # TensorFlow adds its epsilon of 1e-3 inside the root; 0.0316 outside is the nearest torch has.
    return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=0.9, eps=0.0316, momentum=recipe.momentum)


def learning_rate(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Learning rate of step `step` (from 0): a pure function, so that a resumed run needs no state."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    total = max(recipe.epochs * steps_per_epoch, 1)
    warmup = min(warmup, total // 2)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))
    if recipe.schedule == "poly":
        return recipe.lr * (1 - progress) ** 0.9
    return recipe.lr


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
