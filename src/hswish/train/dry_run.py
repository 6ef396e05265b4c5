"""A run before the run: are the data sound, what does the network get to see, how long will it take?

files looked at -> augmented samples drawn -> a few steps timed -> a few pictures validated -> stop
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hswish.data import Batch, class_frequencies, too_many_bad
from hswish.data.loading.workers import worker_deaths
from hswish.data.source import DataSource, evenly
from hswish.evaluate import Fed, augmented_page, evaluate
from hswish.models.engine import TorchEngine
from hswish.spec.errors import DataError, HswishError, PictureError
from hswish.train.learner import NotFinite
from hswish.train.loop import Trainer
from hswish.train.optim.schedule import learning_rate
from hswish.train.reporter import Reporter

_LOOKED_AT = 500
"""Pictures of a split that are read in full, evenly spaced."""
_WARM_UP = 3
_STEPS = 8
_SECONDS = 20.0
"""The measured steps end after so many, or after so long."""
_VALIDATED = 64


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a run would be like, as far as a few steps can tell."""

    picture: Path
    """samples as the network is fed them, with their masks drawn"""
    data: str
    """short name of the data set"""
    task: str
    model: str
    pictures: dict[str, int]
    """number by split"""
    looked_at: dict[str, int]
    """pictures that were read in full, by split"""
    bad: dict[str, str]
    """reason by file that cannot be used"""
    classes: dict[str, int]
    """pictures (or labelled pixels) of train by class"""
    absent: dict[str, list[str]]
    """classes that do not occur, by split"""
    usual_size: tuple[int, int]
    """median (height, width) of the pictures in pixels"""
    input_size: tuple[int, int]
    """(height, width) that the network is trained at"""
    batch_size: int
    step_size: int
    """pictures of a step: of `accumulate` batches, but of no more than there are"""
    steps: int
    """steps an epoch"""
    epochs: int
    validations: int
    """in the whole run"""
    pictures_per_second: float
    train_seconds: float
    """an epoch's training"""
    val_seconds: float
    """an epoch's validation"""
    memory_bytes: int
    """the most that this process, or the GPU, has held so far"""
    memory_of: str
    """whose memory that is"""
    measured_steps: int
    """steps that the figures come from"""
    losses: tuple[float, ...]
    """of all steps made"""

    @property
    def run_seconds(self) -> float:
        """The whole run, if it goes on as measured."""
        return self.epochs * self.train_seconds + self.validations * self.val_seconds

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "picture": str(self.picture), "run_seconds": self.run_seconds}


def rehearse(trainer: Trainer) -> Rehearsal:
    """Look at the data of a run that has not begun, draw samples, and time a few steps of it.

    The weights of `trainer` are not fit for use afterwards.

    Raises:
        DataError: the data contradict themselves, or more than a tenth of a split cannot be read.
        HswishError: the loss is not finite in the first steps.
        SaveError: the picture cannot be written.
    """
    source, recipe = trainer.source, trainer.recipe
    preprocess = trainer.learner.model.preprocess
    frequencies = {split: class_frequencies(source, split) for split in ("train", "val")}
    bad = dict(source.skipped)
    looked_at = {split: _look_at(source, split, bad) for split in ("train", "val")}
    picture = trainer.run_folder.path / "dry-run.png"
    trainer.reporter = Reporter()  # the bad files that steps meet are told with the others, once
    with worker_deaths("try again with --workers 0"):
        if trainer.devices.leads:
            augmented_page(trainer.dataset, preprocess, picture, feed=partial(_fed, trainer))
        losses, pictures, seconds, measured = _time_steps(trainer)
        val_seconds = _time_validation(trainer)
    bad |= trainer.at.bad
    rate = pictures / max(seconds, 1e-9)
    memory, whose = _memory(trainer.devices.device)
    names = source.classes
    absent = {split: [names[index] for index in np.flatnonzero(counts == 0)] for split, counts in frequencies.items()}
    return Rehearsal(
        picture=picture,
        data=source.name,
        task=source.task,
        model=trainer.learner.model.description.model,
        pictures={split: len(items) for split, items in source.splits.items()},
        looked_at=looked_at,
        bad=bad,
        classes=dict(zip(names, frequencies["train"].tolist(), strict=True)),
        absent=absent,
        usual_size=source.median_size(),
        input_size=(preprocess.height, preprocess.width),
        batch_size=recipe.batch_size,
        step_size=min(recipe.batch_size * recipe.accumulate, len(source.items("train"))),
        steps=trainer.steps,
        epochs=recipe.epochs,
        validations=-(-recipe.epochs // recipe.validate_epochs),
        pictures_per_second=rate,
        train_seconds=len(source.items("train")) / rate,
        val_seconds=val_seconds,
        memory_bytes=memory,
        memory_of=whose,
        measured_steps=measured,
        losses=tuple(losses),
    )


def _fed(trainer: Trainer, epoch: int, indices: Sequence[int]) -> Fed:
    """What the network is fed of these items of train: as the run's own loader augments and its learner mixes them."""
    batch = trainer.loader.batch_of(epoch, indices)
    if not len(batch):
        return Fed(np.empty((0, 0, 0, 0), np.float32), np.empty(0), ())
    pictures, targets = trainer.learner.mixed(batch, epoch)
    return Fed(pictures.cpu().numpy(), targets.cpu().numpy(), batch.indices.tolist())


def _look_at(source: DataSource, split: str, bad: dict[str, str]) -> int:
    """Read pictures of a split with what they show; the reasons of those that fail go into `bad`.

    Raises:
        DataError: a contradiction, or too many that fail.
    """
    items, here = evenly(source.items(split), _LOOKED_AT), dict[str, str]()
    for item in items:
        try:
            source.read(item)
        except PictureError as error:
            here[error.name] = error.reason
    too_many_bad(here, len(items))
    bad |= here
    return len(items)


def _windows(trainer: Trainer) -> Iterator[list[Batch]]:
    """The batches of each step, epoch after epoch, cut as in a run: an epoch's last step has what is left."""
    for epoch in itertools.count():
        found = False
        for window in trainer.windows(epoch):
            if window:
                found = True
                yield window
        if not found:
            raise DataError(f"{trainer.source.location}: no picture of train can be read; check the files")


def _time_steps(trainer: Trainer) -> tuple[list[float], int, float, int]:
    """Loss of each step; pictures, seconds and number of the measured ones, loading included."""
    learner = trainer.learner
    learner.begin_epoch(trainer.recipe.finetune.freeze_epochs)  # nothing frozen: the longer part of a run
    losses: list[float] = []
    windows = _windows(trainer)
    pictures, began = 0, time.monotonic()
    for number in range(_WARM_UP + _STEPS):
        if number == _WARM_UP:
            pictures, began = 0, time.monotonic()
        try:
            loss, seen = learner.step(next(windows), number, learning_rate(number, trainer.steps, trainer.recipe))
        except NotFinite as error:
            raise HswishError(
                f"{error} at step {number + 1}: use a lower --lr (it is {trainer.recipe.lr:g}), or look at the samples"
            ) from error
        losses.append(loss)
        pictures += seen
        # One clock decides for all processes: who goes on alone would wait for the others for ever.
        if number > _WARM_UP and trainer.devices.leaders(time.monotonic() - began > _SECONDS):
            break
    seconds = time.monotonic() - began
    windows.close()  # type: ignore[attr-defined]
    return losses, pictures, seconds, len(losses) - _WARM_UP


def _time_validation(trainer: Trainer) -> float:
    """Seconds that a validation takes, from some pictures of it."""
    source, recipe = trainer.source, trainer.recipe
    total = len(source.items("val"))
    engine = TorchEngine(trainer.learner.kept, trainer.devices.device)
    few = min(total, _VALIDATED)
    measured = evaluate(engine, source, "val", batch_size=recipe.batch_size, workers=trainer.workers, limit=few)
    return measured.seconds / few * total


def _memory(device: torch.device) -> tuple[int, str]:
    """Most bytes held so far, and by whom."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device), "GPU"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "this process"
