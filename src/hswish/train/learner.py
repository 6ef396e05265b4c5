"""The network with everything that changes it, and one step of it.

batches -> (mixed) -> network -> loss -> gradients -> clipped -> optimizer -> average

A step is a pure function of the state and of its number, which seeds dropout and mixing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from hswish.data import Batch
from hswish.data.augment.mixing import mix
from hswish.data.loading.recorded import Recorded
from hswish.models import DescribedModule
from hswish.models.engine import channels_last
from hswish.models.segmenter import Segmenter
from hswish.spec.errors import OptionError
from hswish.train.devices import Devices
from hswish.train.drop_path import add_drop_path
from hswish.train.kernels.fused import fuse
from hswish.train.kernels.global_norm import with_global_norms
from hswish.train.losses.loss import Criterion, Totals
from hswish.train.losses.masks import Grid, SegmenterInTraining, check_strides
from hswish.train.optim.average import Average
from hswish.train.optim.optimizer import build_optimizer, keep_rates_on, set_learning_rate
from hswish.train.recipe import Recipe
from hswish.train.teachers.several import AnyTeacher


class NotFinite(ArithmeticError):  # noqa: N818 - what happened, in a word
    """A step was not made: its loss, or a gradient, is infinite or not a number."""

    def __init__(self, what: str, value: float) -> None:
        super().__init__(f"the {what} became {value}")


class Step(NamedTuple):
    """What a step was, over all processes."""

    loss: float
    pictures: int


class Lesson(NamedTuple):
    """A batch as the network gets it."""

    pictures: Tensor
    """(N, C, H, W)"""
    targets: Tensor
    """(N,), (N, K) if mixed, or masks on the grid (N, h, w)"""
    grid: Grid

    @property
    def on_full_grid(self) -> bool:
        """Whether the grid has as many rows and columns wherever it begins."""
        return not any(side % self.grid.stride for side in self.pictures.shape[-2:])

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Everything but the grid's stride, as a recorded step takes it."""
        corner = torch.tensor([self.grid.top, self.grid.left], device=self.pictures.device)
        return self.pictures, self.targets, corner


class _RecordedStep(NamedTuple):
    """The two halves of a step; between them the loss is looked at."""

    gradients: Recorded
    update: Recorded

    def forget(self) -> None:
        self.gradients.forget()
        self.update.forget()


class Learner:
    """Trains `model` step by step.

    Args:
        class_weights: (K,), or None for equal ones.
        teacher: whose answers the recipe's distillation wants.

    Raises:
        OptionError: the recipe does not suit the network.
    """

    def __init__(
        self,
        model: DescribedModule,
        recipe: Recipe,
        devices: Devices,
        *,
        class_weights: Tensor | None = None,
        teacher: AnyTeacher | None = None,
    ) -> None:
        self.recipe, self.devices = recipe, devices
        task = model.description.task
        self.criterion = Criterion.of(recipe, task, class_weights).to(devices.device)
        self._mixes = bool(recipe.mixup or recipe.cutmix)
        if recipe.mixup and task != "classification":
            raise OptionError("mixup is for classification: a pixel has one class; cutmix mixes masks too")
        if task == "segmentation":
            check_strides(recipe.loss, model.preprocess.height, model.preprocess.width)
        self.model = channels_last(model).to(devices.device)
        self.average = Average(self.model, recipe.ema_decay) if recipe.ema_decay else None
        if recipe.drop_path:
            add_drop_path(self.model, recipe.drop_path)
        self.body: nn.Module = self.model
        self._on_grid = bool(recipe.loss.auxiliary) or recipe.loss.stride > 1
        if self._on_grid:
            self.body = SegmenterInTraining(cast(Segmenter, self.model), bool(recipe.loss.auxiliary)).to(devices.device)
        if devices.world_size > 1:
            with_global_norms(self.body, devices.device)
        if recipe.kernels == "auto" and not recipe.compiled:
            fuse(self.body, devices.device.type)
        self.teacher = teacher.to(devices.device) if teacher is not None else None
        self.optimizer = build_optimizer(self.body, recipe)
        body = torch.compile(self.body) if recipe.compiled else self.body
        self.network, self.fabric_optimizer = devices.set_up(cast(nn.Module, body), self.optimizer)
        self._frozen: list[nn.Parameter] = []
        self._recorded: _RecordedStep | None = None
        if self._records():
            self._recorded = _RecordedStep(Recorded(self._gradients_of_one), Recorded(self._update))
            keep_rates_on(devices.device, self.optimizer)

    def _records(self) -> bool:
        """Whether the steps are alike and ask the GPU for nothing, so that one can be recorded."""
        recipe, devices = self.recipe, self.devices
        taught = self.teacher is None or (self.teacher.on_device and not self._on_grid)
        alike = recipe.accumulate == 1 and recipe.loss.pixel != "ohem" and taught
        known = recipe.optimizer in ("sgd", "adamw") and recipe.precision != "16-mixed" and not recipe.compiled
        return (
            recipe.kernels == "auto" and devices.device.type == "cuda" and devices.world_size == 1 and alike and known
        )

    @property
    def kept(self) -> DescribedModule:
        """The network that is measured and saved: the averaged one where there is an average."""
        return self.model if self.average is None else cast(DescribedModule, self.average.module)

    def begin_epoch(self, epoch: int) -> None:
        """Set what depends on the epoch (from 0): training mode, and which weights stand still."""
        backbone = cast(nn.Module, self.model.backbone)
        frozen = epoch < self.recipe.finetune.freeze_epochs
        if self._recorded is not None and frozen != bool(self._frozen):
            self._recorded.forget()
        self.network.train()
        backbone.train(not frozen)
        self._frozen = list(backbone.parameters()) if frozen else []
        if self.devices.world_size == 1:  # DDP wants the gradients that it was told of
            backbone.requires_grad_(not frozen)

    # ---------------------------------------------------------------- one step

    def step(self, batches: Sequence[Batch], number: int, lr: float) -> Step:
        """Make step `number` of the run with the gradients of all `batches`.

        Raises:
            NotFinite: loss or gradient; weights and optimizer are as they were (statistics, too, to be skipped).
            OptionError: a batch too small for batch norm.
        """
        set_learning_rate(self.fabric_optimizer, lr)
        torch.manual_seed((self.recipe.seed * 1_000_003 + number) * self.devices.world_size + self.devices.rank)
        skips = self.recipe.on_nan == "skip"
        statistics = [buffer.clone() for buffer in self.body.buffers()] if skips else []
        lessons = [self._prepared(batch, number, place) for place, batch in enumerate(batches)]
        if self._recorded is not None and lessons[0].on_full_grid:
            figures = self._recorded.gradients(*lessons[0].tensors())
        else:
            figures = self._gradients(lessons)
        loss, norm, pictures = figures.tolist()
        try:
            self._check(loss, norm)
        except NotFinite:
            for buffer, before in zip(self.body.buffers(), statistics, strict=skips):
                buffer.copy_(before)
            self.devices.forget_step()
            raise
        (self._recorded.update if self._recorded is not None else self._update)()
        return Step(loss, round(pictures))

    def _check(self, loss: float, norm: float) -> None:
        """Raises NotFinite; where a loss is scaled, a norm that is not finite only means that the scale must fall."""
        if not math.isfinite(loss):
            raise NotFinite("loss", loss)
        if self.devices.scaler is None and not math.isfinite(norm):
            raise NotFinite("gradient", norm)

    def _update(self) -> Tensor:
        """Move the weights by their gradients, and the average after them."""
        self.fabric_optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return torch.empty(0)

    def _prepared(self, batch: Batch, number: int, place: int) -> Lesson:
        """Pictures and targets on the device, mixed or thinned out where the recipe says so."""
        pictures, targets = self.mixed(batch, number, place)
        grid = Grid.drawn(self.recipe.loss.stride, self.recipe.seed, number)
        return Lesson(pictures, grid.of(targets) if targets.ndim == 3 else targets, grid)

    def mixed(self, batch: Batch, number: int, place: int = 0) -> tuple[Tensor, Tensor]:
        """A batch on the device, mixed if the recipe says so, as step `number` has it in its `place`.

        Returns:
            Pictures (N, C, h, w), channels last, and targets (N,), (N, K) or masks (N, h, w).
        """
        device, recipe = self.devices.device, self.recipe
        pictures = batch.pictures.to(device, memory_format=torch.channels_last)
        targets = batch.targets.to(device)
        if not self._mixes:
            return pictures, targets
        chance = np.random.default_rng((recipe.seed, number, place, self.devices.rank))
        return mix(
            pictures, targets, len(self.model.classes), chance,
            mixup=recipe.mixup, cutmix=recipe.cutmix, probability=recipe.mix_probability,
        )  # fmt: skip

    def _gradients_of_one(self, pictures: Tensor, targets: Tensor, corner: Tensor) -> Tensor:
        return self._gradients([Lesson(pictures, targets, Grid(self.recipe.loss.stride, *corner))])

    def _gradients(self, batches: list[Lesson]) -> Tensor:
        """Leave in `.grad` the gradient of the loss over all batches and processes, scaled down to the recipe's norm.

        Returns:
            (3,) float64 on the device: the loss, the gradient's norm before, the number of pictures.
        """
        devices = self.devices
        counts = torch.stack([torch.stack(self.criterion.totals(batch.targets)) for batch in batches])
        totals = Totals(*devices.total(counts.sum(0)))
        # A recorded update reads the gradients where they lay when it was recorded, so they stay there.
        self.fabric_optimizer.zero_grad(set_to_none=self._recorded is None)
        losses = []
        for place, batch in enumerate(batches):
            with devices.adding_up(self.network, more_to_come=place < len(batches) - 1):
                loss = self._loss(batch, totals)
                losses.append(devices.total(loss.detach()))
                # DDP takes the mean over processes of what is a sum here.
                devices.fabric.backward(loss * devices.world_size)
        for weight in self._frozen:
            weight.grad = None
        norm = devices.fabric.clip_gradients(
            self.network, self.fabric_optimizer, max_norm=self.recipe.clip_norm or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        return torch.stack([torch.stack(losses).sum(), norm, totals.pictures]).double()

    def _loss(self, batch: Lesson, totals: Totals) -> Tensor:
        taught = None
        if self.teacher is not None:
            with self.devices.fabric.autocast():
                taught = self.teacher(batch.pictures)
            taught = batch.grid.of(taught) if taught.ndim == 4 else taught
        answer = self._forward(batch.pictures, batch.grid)
        logits, auxiliary = answer if isinstance(answer, tuple) else (answer, None)
        return self.criterion(logits, batch.targets, totals, auxiliary=auxiliary, teacher=taught)

    def _forward(self, pictures: Tensor, grid: Grid) -> Any:
        try:
            return (
                self.network(pictures, grid) if isinstance(self.body, SegmenterInTraining) else self.network(pictures)
            )
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise OptionError(
                f"one picture of {pictures.shape[2]}x{pictures.shape[3]} pixels in a batch leaves batch norm nothing "
                "to average; use --batch-size 2 or more, a larger --size, or more pictures"
            ) from error

    # ---------------------------------------------------------------- stopping and going on

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "body": self.body.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "precision": self.devices.fabric.strategy.precision.state_dict(),  # the loss scale of fp16
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`."""
        self.body.load_state_dict(state["body"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._recorded is not None:
            keep_rates_on(self.devices.device, self.optimizer)
            self._recorded.forget()
        self.devices.fabric.strategy.precision.load_state_dict(state["precision"])
