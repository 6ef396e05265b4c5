"""The training loop, top to bottom.

Everything random is a pure function of (seed, epoch, step, picture): weights, order,
augmentation and dropout need no stored generator state, so a run that was interrupted and
resumed makes exactly the steps that an uninterrupted one would have made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hswish.data import BadFile, DataSource, PictureDataset, TrainLoader, raise_fatal, too_many_bad
from hswish.data.workers import available_cores, worker_deaths
from hswish.evaluate import Evaluation, evaluate
from hswish.models import DescribedModule, save
from hswish.models.engine import TorchEngine, channels_last
from hswish.spec.errors import HswishError, OptionError
from hswish.train.interrupt import Interrupted, StopRequest
from hswish.train.loss import CrossEntropy
from hswish.train.optim import averaged, build_optimizer, learning_rate
from hswish.train.recipe import Recipe
from hswish.train.reporter import Reporter
from hswish.train.run_folder import RunFolder

_CHECKPOINT_SECONDS = 300.0
_SMALL_PIXELS = 200 * 200


class Trainer:
    """Trains `model` on the train split of `source`, keeping its run in `run`."""

    def __init__(
        self,
        model: DescribedModule,
        source: DataSource,
        dataset: PictureDataset,
        recipe: Recipe,
        run: RunFolder,
        reporter: Reporter,
        *,
        class_weights: Tensor | None = None,
        workers: int | None = None,
    ) -> None:
        self.source, self.recipe, self.run_folder, self.reporter = source, recipe, run, reporter
        self.workers = workers
        self.fabric = Fabric(accelerator="auto", devices=1, precision=recipe.precision)
        self.model = channels_last(model).to(self.fabric.device)
        self.average = averaged(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.optimizer = build_optimizer(self.model, recipe)
        self.network, self.fabric_optimizer = self.fabric.setup(self.model, self.optimizer)
        self.loss = CrossEntropy(recipe.label_smoothing, class_weights).to(self.fabric.device)
        self.loader = TrainLoader(dataset, batch_size=recipe.batch_size, seed=recipe.seed, workers=workers)
        self.steps = len(self.loader)
        # Where the run stands; all of it goes into the checkpoint.
        self.epoch = 0
        self.step = 0  # within the epoch
        self.loss_sum = 0.0
        self.pictures = 0
        self.best = -math.inf
        self.bad: dict[str, str] = {}
        self._said = {name for name, _ in source.skipped}
        self._saved_at = time.monotonic()

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Train from where the run stands to the recipe's last epoch.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the run is saved and can be resumed exactly.
            HswishError: the loss is no longer finite; the data contradict themselves.
            SaveError: the disk is full; the last checkpoint is intact.
        """
        threads = torch.get_num_threads()
        if self.fabric.device.type == "cpu":
            _share_cores(self.model.preprocess.height * self.model.preprocess.width)
        try:
            with StopRequest() as stop, worker_deaths(f"go on with: {self.run_folder.resume_command} --workers 0"):
                while self.epoch < self.recipe.epochs:
                    began = time.monotonic()
                    self._train_epoch(stop)
                    seconds = time.monotonic() - began
                    evaluation = self._validate(stop)
                    self._finish_epoch(evaluation, seconds)
        except KeyboardInterrupt:  # a second Ctrl-C: the last checkpoint stands
            raise Interrupted(f"stopped at once; go on with: {self.run_folder.resume_command}") from None
        finally:
            torch.set_num_threads(threads)

    def _train_epoch(self, stop: StopRequest) -> None:
        self.network.train()
        self.reporter.start_epoch(self.epoch + 1, self.recipe.epochs, self.steps, self.step)
        for batch in self.loader.epoch(self.epoch, start_batch=self.step):
            self._note_bad(batch.bad)
            if len(batch):
                self._train_step(batch.pictures, batch.targets)
            self.step += 1
            if stop.asked:
                self._stop()
            if time.monotonic() - self._saved_at > _CHECKPOINT_SECONDS:
                self._checkpoint()

    def _train_step(self, pictures: Tensor, targets: Tensor) -> None:
        recipe, step = self.recipe, self.epoch * self.steps + self.step
        lr = learning_rate(step, self.steps, recipe)
        for group in self.fabric_optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout
        pictures = pictures.to(self.fabric.device, memory_format=torch.channels_last)
        loss = self.loss(self._forward(pictures), targets.to(self.fabric.device))
        value = loss.item()
        if not math.isfinite(value):
            raise HswishError(
                f"the loss became {value} at epoch {self.epoch + 1}, step {self.step + 1}: "
                f"start again with a lower --lr (it was {recipe.lr:g}); {self.run_folder.path} keeps the best so far"
            )
        self.fabric_optimizer.zero_grad()
        self.fabric.backward(loss)
        if recipe.clip_norm:
            self.fabric.clip_gradients(
                self.network, self.fabric_optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False
            )
        self.fabric_optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.loss_sum += value * len(pictures)
        self.pictures += len(pictures)
        self.reporter.step(len(pictures), value, lr)

    def _forward(self, pictures: Tensor) -> Tensor:
        try:
            return self.network(pictures)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise OptionError(
                f"one picture of {pictures.shape[2]}x{pictures.shape[3]} pixels in a batch leaves batch norm nothing "
                "to average; use --batch-size 2 or more, a larger --size, or more pictures"
            ) from error

    # ---------------------------------------------------------------- measuring and keeping

    @property
    def kept(self) -> DescribedModule:
        """The network that is measured and saved: the averaged one where there is an average."""
        return self.model if self.average is None else cast(DescribedModule, self.average.module)

    def _validate(self, stop: StopRequest) -> Evaluation:
        def progress(done: int, total: int) -> None:
            if stop.asked:
                self._stop()
            self.reporter.validated(done, total)

        engine = TorchEngine(self.kept, self.fabric.device)
        return evaluate(
            engine, self.source, "val", batch_size=self.recipe.batch_size, workers=self.workers, progress=progress
        )

    def _finish_epoch(self, evaluation: Evaluation, seconds: float) -> None:
        for file, reason in evaluation.skipped:
            self._skip(file, reason)
        name, value = evaluation.headline
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "loss": self.loss_sum / max(self.pictures, 1),
            "lr": learning_rate((self.epoch + 1) * self.steps - 1, self.steps, self.recipe),
            "seconds": round(seconds, 3),
            "pictures_per_second": round(self.pictures / max(seconds, 1e-9), 1),
            **evaluation.summary(),
        }
        if value > self.best:
            self.best = value
            self.kept.describe(metrics={"val": {**evaluation.summary(), "epoch": self.epoch + 1}})
            save(self.kept, self.run_folder.best)
        row[f"best_{name}"] = self.best
        self.epoch, self.step, self.loss_sum, self.pictures = self.epoch + 1, 0, 0.0, 0
        self.run_folder.keep_rows(self.epoch - 1)
        self.run_folder.append_row(row)
        self._checkpoint()
        self.reporter.end_epoch(row)

    def _note_bad(self, files: Sequence[BadFile]) -> None:
        raise_fatal(files)
        for file in files:
            self.bad[file.name] = file.reason
            self._skip(file.name, file.reason)
        too_many_bad(self.bad, len(self.source.splits["train"]))

    def _skip(self, name: str, reason: str) -> None:
        """Say once that a file is left out."""
        if name not in self._said:
            self._said.add(name)
            self.reporter.note(f"skipped {name}: {reason}")

    # ---------------------------------------------------------------- stopping and going on

    def _stop(self) -> None:
        self._checkpoint()
        raise Interrupted(
            f"interrupted at epoch {self.epoch + 1}, step {self.step} of {self.steps}; "
            f"go on with: {self.run_folder.resume_command}"
        )

    def _checkpoint(self) -> None:
        self.run_folder.write_checkpoint(
            {
                "epoch": self.epoch,
                "step": self.step,
                "loss_sum": self.loss_sum,
                "pictures": self.pictures,
                "best": self.best,
                "bad": self.bad,
                "model": self.model.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of fp16
            }
        )
        self._saved_at = time.monotonic()

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the run where `write_checkpoint` left it."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss_sum, self.pictures = state["loss_sum"], state["pictures"]
        self.best, self.bad = state["best"], dict(state["bad"])
        self._said |= self.bad.keys()
        self.run_folder.keep_rows(self.epoch)


def _share_cores(input_pixels: int) -> None:
    """Leave half the cores to the loaders where pictures are small and the network is cheap.

    Measured on 2 cores: CIFAR-10 at 64x64 gains 1.1 to 1.4 times, CamVid at 360x480 would lose
    a third (docs/log.md). It must not depend on the number of loaders: another number of threads
    may sum in another order, and equal runs are to stay equal bit for bit.
    """
    if input_pixels < _SMALL_PIXELS:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), available_cores() // 2)))
