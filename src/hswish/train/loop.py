"""The training loop, top to bottom.

Everything random is a pure function of (seed, epoch, step, picture): weights, order,
augmentation and dropout need no stored generator state, so a run that was interrupted and
resumed makes exactly the steps that an uninterrupted one would have made.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from hswish.data import BadFile, Batch, DataSource, HeldLoader, PictureDataset, TrainLoader, raise_fatal, too_many_bad
from hswish.data.loading.workers import worker_deaths
from hswish.data.problems import TooManyBad
from hswish.evaluate import Evaluation, evaluate
from hswish.models import DescribedModule, load, save
from hswish.models.engine import TorchEngine, channels_last
from hswish.spec.errors import DataError, HswishError, OptionError, SaveError
from hswish.train.devices import lost_processes
from hswish.train.interrupt import Interrupted, StopRequest
from hswish.train.kept_batch import keep_batch
from hswish.train.learner import Learner, NotFinite
from hswish.train.optim.schedule import learning_rate
from hswish.train.pictures import RunPictures
from hswish.train.processor import share_cores
from hswish.train.recalibrate import recalibrate
from hswish.train.recipe import Recipe
from hswish.train.reporter import Reporter
from hswish.train.run_folder import RunFolder
from hswish.train.standing import Standing

_CHECKPOINT_SECONDS = 300.0
_MOST_PASSED_OVER = 10
_MOST_CLASSES = 255
"""Up to so many classes, which is what a mask can have, each has a figure in every line of metrics.jsonl."""


def share_of_batch(batch_size: int, processes: int) -> int:
    """Pictures of a batch that each of the processes has.

    Raises:
        OptionError: they cannot all have as many. Resuming keeps the batch, so numbers of processes are named, too.
    """
    share, rest = divmod(batch_size, processes)
    if rest:
        fitting = [number for number in range(1, batch_size + 1) if batch_size % number == 0]
        nearest = [number for number in fitting if number < processes][-1:]
        nearest += [number for number in fitting if number > processes][:1]
        raise OptionError(
            f"batch_size is {batch_size}, no multiple of the {processes} processes; start "
            f"{' or '.join(map(str, nearest))} of them, or begin a new run with --batch-size {(share + 1) * processes}"
        )
    return share


class Trainer:
    """Has `learner` learn the train split of `source`, and keeps the run in `run`."""

    def __init__(
        self,
        learner: Learner,
        source: DataSource,
        dataset: PictureDataset,
        recipe: Recipe,
        run: RunFolder,
        reporter: Reporter,
        *,
        workers: int | None = None,
    ) -> None:
        self.learner, self.devices = learner, learner.devices
        self.source, self.dataset, self.recipe, self.run_folder, self.reporter = source, dataset, recipe, run, reporter
        self.workers = workers
        self.pictures = RunPictures(run, source, reporter)
        self.loader = self._loader(self.devices.rank, self.devices.world_size)
        self.steps = -(-len(self.loader) // recipe.accumulate)
        self.at = Standing()
        self._said = {name for name, _ in source.skipped}
        self._saved_at = time.monotonic()

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Train from where the run stands to its end.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the run is saved and can be resumed exactly.
            HswishError: loss or gradients are no longer finite.
            DataError: the data contradict themselves, or cannot be reached any more.
            SaveError: the disk is full; the last checkpoint is intact.
        """
        at, resume_by = self.at, self.run_folder.resume_command
        threads = torch.get_num_threads()
        if self.devices.device.type == "cpu" and not self.recipe.held:  # held pictures need no loaders
            size = self.learner.model.preprocess
            share_cores(size.height * size.width)
        try:
            with (
                StopRequest() as stop,
                worker_deaths(f"go on with: {resume_by} --workers 0"),
                lost_processes(self.devices, f"go on with: {resume_by}"),
            ):
                while at.epoch < self.recipe.epochs and not self._has_stalled():
                    self._train_epoch(stop)
                    evaluation = None
                    if self._validates(at.epoch + 1):
                        if self.devices.world_size > 1:  # their validation cannot be stopped, only ended
                            self._checkpoint()
                        evaluation = self._validate(self.learner.kept, stop)
                    self._finish_epoch(evaluation)
                if not at.finished:
                    self._finish_run(stop)
        except KeyboardInterrupt:  # a second Ctrl-C: the last checkpoint stands
            raise Interrupted(f"stopped at once; go on with: {resume_by}") from None
        except TooManyBad:
            raise
        except SaveError as error:
            raise SaveError(f"{error}; go on with: {resume_by}") from error
        except DataError as error:  # a server of shards that is gone, a picture's mask of another size
            raise DataError(f"{error}; once that is mended, go on with: {resume_by}") from error
        finally:
            torch.set_num_threads(threads)

    def _train_epoch(self, stop: StopRequest) -> None:
        at = self.at
        self.learner.begin_epoch(at.epoch)
        self.reporter.start_epoch(at.epoch + 1, self.recipe.epochs, self.steps, at.step)
        since = time.monotonic()
        for batches in self.windows(at.epoch, at.step):
            self._train_step(batches)
            at.step += 1
            since, before = time.monotonic(), since
            at.seconds += since - before
            if self.devices.any(stop.asked):
                self._stop()
            if time.monotonic() - self._saved_at > _CHECKPOINT_SECONDS:
                self._checkpoint()

    def windows(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, from step `start` on, less those that bad files left empty.

        A batch that is empty in one process is left out in all: they add up their gradients batch by batch.
        """
        count = self.recipe.accumulate
        batches = self.loader.epoch(epoch, start_batch=start * count)
        while window := list(itertools.islice(batches, count)):
            bad = [file for batch in window for file in batch.bad]
            any_bad, *empty = self.devices.any_of([bool(bad), *(not len(batch) for batch in window)])
            if any_bad:  # in any process: all note them, and stop together at a fatal one
                self._note_bad([file for found in self.devices.gather(bad) for file in found])
            yield [batch for batch, is_empty in zip(window, empty, strict=True) if not is_empty]

    def _train_step(self, batches: list[Batch]) -> None:
        at, step = self.at, self.at.epoch * self.steps + self.at.step
        if not batches:
            return
        lr = learning_rate(step, self.steps, self.recipe)
        try:
            loss, pictures = self.learner.step(batches, step, lr)
        except NotFinite as error:
            self._pass_over(batches, error)
            return
        at.loss_sum += loss * pictures
        at.pictures += pictures
        self.reporter.step(pictures, loss, lr)

    def _pass_over(self, batches: list[Batch], error: NotFinite) -> None:
        """Stop at a step that could not be made, or go on without it if the recipe says so.

        Raises:
            HswishError: the recipe says stop, or it was one too many in this epoch.
        """
        at, run = self.at, self.run_folder
        at.passed_over += 1
        place = f"epoch {at.epoch + 1}, step {at.step + 1}"
        mine = [Batch(batch.pictures.cpu(), batch.targets.cpu(), batch.indices, ()) for batch in batches]
        everyones = [batch for share in self.devices.gather(mine) for batch in share]
        names = [self.dataset.items[index].picture for batch in everyones for index in batch.indices.tolist()]
        if self.devices.leads:
            keep_batch(run.nan_batch, everyones, names, f"{place}: {error}")
        if self.recipe.on_nan == "skip" and at.passed_over <= _MOST_PASSED_OVER:
            self.reporter.note(f"{place}: {error}; the step is left out, its batch kept as {run.nan_batch}")
            return
        tried = f" {at.passed_over} times in this epoch" if at.passed_over > 1 else ""
        raise HswishError(
            f"{error} at {place}{tried}: start again with a lower --lr (it was {self.recipe.lr:g}), or leave such "
            f"steps out: {run.resume_command} --on-nan skip; the batch is kept as {run.nan_batch}"
        )

    # ---------------------------------------------------------------- measuring and keeping

    def _validates(self, epoch: int) -> bool:
        """Whether epoch `epoch`, from 1, ends with a validation."""
        return epoch % self.recipe.validate_epochs == 0 or epoch == self.recipe.epochs

    def _validate(self, network: DescribedModule, stop: StopRequest) -> Evaluation:
        def progress(done: int, total: int) -> None:
            if stop.asked and self.devices.world_size == 1:  # several processes have to stop together
                self._stop()
            self.reporter.validated(done, total)

        engine = TorchEngine(network, self.devices.device)
        evaluation = evaluate(
            engine,
            self.source,
            "val",
            batch_size=self.recipe.batch_size,
            workers=self.workers,
            progress=progress,
            share=(self.devices.rank, self.devices.world_size),
            gather=self.devices.gather,
        )
        if self.devices.any(stop.asked):
            self._stop()
        return evaluation

    def _finish_epoch(self, evaluation: Evaluation | None) -> None:
        """Write the epoch's row; with an `evaluation` keep the network if it is the best, save, and draw."""
        at = self.at
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "loss": at.loss_sum / at.pictures if at.pictures else None,  # null where no step could be made
            "lr": learning_rate((at.epoch + 1) * self.steps - 1, self.steps, self.recipe),
            "seconds": round(at.seconds, 3),
            "pictures_per_second": round(at.pictures / max(at.seconds, 1e-9), 1),
        }
        if at.passed_over:
            row["passed_over"] = at.passed_over
        if evaluation is not None:
            row |= self._figures(evaluation)
        at.begin_epoch()
        if self.devices.leads:
            self.run_folder.keep_rows(at.epoch - 1)
            self.run_folder.append_row(row)
        if evaluation is not None:
            self._checkpoint()
        self.reporter.end_epoch({key: value for key, value in row.items() if value is not None})
        if evaluation is not None and self.devices.leads:
            self.pictures.after_epoch(self.learner.kept, at.epoch)

    def _figures(self, evaluation: Evaluation) -> dict[str, Any]:
        """What a validation adds to its epoch's row; the network is kept if it has never been better."""
        at = self.at
        for file, reason in evaluation.skipped:
            self._skip(file, reason)
        figures: dict[str, Any] = {**evaluation.summary()}
        if len(evaluation.classes) <= _MOST_CLASSES:
            figures["per_class"] = evaluation.per_class()
        name, value = evaluation.headline
        if value > at.best:
            at.best, at.best_epoch = value, at.epoch + 1
            self._keep(self.learner.kept, {**evaluation.summary(), "epoch": at.best_epoch})
        return {**figures, f"best_{name}": at.best}

    def _has_stalled(self) -> bool:
        """Whether the recipe's patience with epochs that are no better is at its end."""
        patience, since = self.recipe.patience, self.at.epoch - self.at.best_epoch
        if not patience or since < patience or not self._validates(self.at.epoch):
            return False
        self.reporter.note(f"stopped early: no better for {since} epochs than epoch {self.at.best_epoch}")
        return True

    def _finish_run(self, stop: StopRequest) -> None:
        """Measure the best network's batch norms anew, and keep them where they score higher."""
        if self.recipe.bn_batches and self.run_folder.best.exists():
            best = channels_last(load(self.run_folder.best)).to(self.devices.device)
            loader = self.loader if self.devices.world_size == 1 else self._loader(0, 1)  # every process the same
            batches = itertools.islice(loader.epoch(self.recipe.epochs), self.recipe.bn_batches)
            recalibrate(best, (batch.pictures for batch in batches if len(batch)), self.devices.device)
            evaluation = self._validate(best, stop)
            name, value = evaluation.headline
            self.reporter.note(f"batch norms measured anew: {name} {value:.4f} (was {self.at.best:.4f})")
            if value > self.at.best:
                self.at.best = value
                summary = {**evaluation.summary(), "epoch": self.at.best_epoch, "bn_batches": self.recipe.bn_batches}
                self._keep(best, summary)
        self.at.finished = True
        self._checkpoint()

    def _keep(self, network: DescribedModule, figures: dict[str, Any]) -> None:
        """Write `network` as the best one, with its validation figures."""
        network.describe(metrics={"val": figures})
        if self.devices.leads:
            save(network, self.run_folder.best)
        self.devices.wait()  # the others read it at the end

    def _loader(self, rank: int, world_size: int) -> TrainLoader | HeldLoader:
        recipe = self.recipe
        share = share_of_batch(recipe.batch_size, world_size)
        make = partial(HeldLoader, device=self.devices.device) if recipe.held else TrainLoader
        return make(
            self.dataset, batch_size=share, seed=recipe.seed, workers=self.workers, rank=rank, world_size=world_size
        )

    def _note_bad(self, files: Sequence[BadFile]) -> None:
        """Say and count what cannot be used.

        Raises:
            DataError: the data contradict themselves, or more than a tenth of them is bad.
        """
        raise_fatal(files)
        for file in files:
            self.at.bad[file.name] = file.reason
            self._skip(file.name, file.reason)
        too_many_bad(self.at.bad, len(self.source.splits["train"]))

    def _skip(self, name: str, reason: str) -> None:
        """Say once that a file is left out."""
        if name not in self._said:
            self._said.add(name)
            self.reporter.note(f"skipped {name}: {reason}")

    # ---------------------------------------------------------------- stopping and going on

    def _stop(self) -> None:
        self._checkpoint()
        at, place = self.at, f"after epoch {self.at.epoch}, while batch norms were measured anew"
        if at.step:  # none is done only there: a stop is asked for after a step, or in a validation
            place = f"at epoch {at.epoch + 1}, step {at.step} of {self.steps}"
        raise Interrupted(f"interrupted {place}; go on with: {self.run_folder.resume_command}")

    def _checkpoint(self) -> None:
        if self.devices.leads:
            self.run_folder.write_checkpoint({"at": self.at.to_dict(), **self.learner.state()})
        self._saved_at = time.monotonic()

    def begin(self) -> None:
        """Write the first checkpoint: from then on neither the start file nor a fresh draw is needed."""
        self._checkpoint()

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the run where `write_checkpoint` left it."""
        self.at = Standing(**state["at"])
        self.learner.restore(state)
        self._said |= self.at.bad.keys()
        if self.devices.leads:
            self.run_folder.keep_rows(self.at.epoch)
