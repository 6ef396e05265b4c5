"""The course of the learning rate."""

from __future__ import annotations

import math

from hswish.train.recipe import Recipe


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
    if recipe.schedule == "step":  # counted from the run's start, as slim does
        return recipe.lr * recipe.step_factor ** math.floor(step / steps_per_epoch / recipe.step_epochs)
    return recipe.lr
