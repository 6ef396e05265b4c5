"""What a step minimises: the labels', the region's, the auxiliary mask's and the teacher's part in one number.

A step may have several batches (`accumulate`) and several processes. So each part is a sum,
divided by what the whole step counts: gradients then add up to those of one big batch, also
where batches differ in size or in labelled pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hswish.spec.errors import OptionError
from hswish.spec.palette import IGNORE_INDEX
from hswish.train.losses.pixels import cross_entropy, divergence, focal, hardest_pixels
from hswish.train.losses.regions import dice, lovasz_softmax
from hswish.train.recipe import Recipe
from hswish.train.recipe_groups import Loss


class Totals(NamedTuple):
    """What a whole step counts; each a tensor of one number."""

    weight: Tensor
    """class weights of the pictures, or of the labelled pixels"""
    labelled: Tensor
    """pictures, or labelled pixels"""
    pictures: Tensor


class Criterion(nn.Module):
    """The loss of a recipe.

    Args:
        class_weights: (K,), or None for equal ones.
        teacher_weight, temperature: see `Distillation`.

    Raises:
        OptionError: a loss of masks for a classifier.
    """

    def __init__(
        self,
        loss: Loss | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        teacher_weight: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.loss = loss or Loss()
        self.label_smoothing, self.teacher_weight, self.temperature = label_smoothing, teacher_weight, temperature
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights)

    @classmethod
    def of(cls, recipe: Recipe, task: str, class_weights: Tensor | None) -> Criterion:
        """The loss that `recipe` asks for.

        Raises:
            OptionError: a loss of masks for a classifier.
        """
        loss = recipe.loss
        if task == "classification":
            plain = Loss()
            for name in ("region", "stride", "auxiliary"):
                if getattr(loss, name) != getattr(plain, name):
                    raise OptionError(f"loss.{name}={getattr(loss, name)} is for masks; leave it out")
            if loss.pixel == "ohem":
                raise OptionError("loss.pixel=ohem is for masks; leave it out")
        return cls(
            loss,
            label_smoothing=recipe.label_smoothing,
            class_weights=class_weights,
            teacher_weight=recipe.distill.weight if recipe.distill.teacher else 0.0,
            temperature=recipe.distill.temperature,
        )

    def totals(self, targets: Tensor) -> Totals:
        """What one batch of labels (N,), soft targets (N, K) or masks (N, H, W) counts."""
        pictures = torch.full((), float(len(targets)), device=targets.device)
        weight = self.class_weights
        if targets.is_floating_point():
            return Totals(pictures if weight is None else (targets * weight).sum(), pictures, pictures)
        if targets.ndim == 1:
            return Totals(pictures if weight is None else weight[targets].sum(), pictures, pictures)
        counted = targets != IGNORE_INDEX
        labelled = counted.sum().float()
        if weight is None:
            return Totals(labelled, labelled, pictures)
        return Totals((weight[torch.where(counted, targets, 0).long()] * counted).sum(), labelled, pictures)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        totals: Totals | None = None,
        *,
        auxiliary: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> Tensor:
        """The batch's share of the step's loss.

        Args:
            logits: (N, K), or (N, K, H, W).
            targets: (N,), (N, K), or (N, H, W).
            totals: of the whole step; of this batch alone if None.
            auxiliary, teacher: other logits of the same shape.
        """
        totals = totals or self.totals(targets)
        logits = logits.float()
        loss = self._labels(logits, targets, totals)
        if self.loss.region != "none":
            region = dice if self.loss.region == "dice" else lovasz_softmax
            grid = (..., slice(None, None, self.loss.region_stride), slice(None, None, self.loss.region_stride))
            value = region(logits[grid].softmax(1), targets[grid])
            loss = loss + self.loss.region_weight * value * len(targets) / totals.pictures
        if teacher is not None:
            counted = (targets != IGNORE_INDEX if targets.ndim == 3 else torch.ones_like(logits[:, 0])).float()
            taught = divergence(logits, teacher.float(), self.temperature, counted) / totals.labelled.clamp(min=1)
            loss = (1 - self.teacher_weight) * loss + self.teacher_weight * taught
        if auxiliary is not None:
            loss = loss + self.loss.auxiliary * self._labels(auxiliary.float(), targets, totals)
        return loss

    def _labels(self, logits: Tensor, targets: Tensor, totals: Totals) -> Tensor:
        loss, weight, smoothing = self.loss, self.class_weights, self.label_smoothing
        if loss.pixel == "ohem":
            hard = hardest_pixels(logits, targets, weight, smoothing, loss.ohem_threshold, loss.ohem_keep)
            return hard / totals.pictures
        if loss.pixel == "focal":
            total = focal(logits, targets, weight, smoothing, loss.focal_gamma)
        else:
            total = cross_entropy(logits, targets, weight, smoothing)
        return total / totals.weight.clamp(min=1e-12)  # 0 where nothing is labelled
