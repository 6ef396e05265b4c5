"""The two things a user asks for: train on some data, and go on with a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hswish.data import open_data
from hswish.models import load
from hswish.spec.architecture import task_of
from hswish.spec.errors import DataError, SaveError
from hswish.train.devices import Devices, LostProcess
from hswish.train.dry_run import Rehearsal, rehearse
from hswish.train.loop import Trainer
from hswish.train.prepare import build_model, build_trainer, prepared
from hswish.train.recipe import Recipe
from hswish.train.reporter import Reporter
from hswish.train.run_folder import RunConfig, RunFolder
from hswish.train.teachers.several import open_teachers


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left behind."""

    run: Path
    """the run folder"""
    best: Path
    """the best model, ready for use"""
    metrics: dict[str, Any]
    """validation figures of the best model"""
    epochs: int


def train(
    data: str | Path,
    model: str,
    *,
    out: str | Path,
    recipe: str | Recipe | None = None,
    changes: dict[str, Any] | None = None,
    weights: str | Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> RunResult:
    """Train `model` on `data` (or fine-tune `weights`) and keep the run in the folder `out`.

    Args:
        data: folder, `.zip`, folder or address of shards, or built-in name.
        model: architecture, one of `hswish.list_models()`.
        recipe: a `Recipe`, the name of one, or None for the one that fits the data.
        changes: recipe fields to override, e.g. `{"epochs": 10, "augment.mirror": 0.0}`.
        weights: model to start from (whatever `hswish.load` takes); layers that do not fit are drawn afresh.
        options: of the architecture, such as `width_mult`, by default those of `weights`;
            `num_classes` must fit the data.

    Raises:
        HswishError: bad data, an unknown name, a contradiction; the message says what to do.
    """
    RunFolder.check_free(out)
    with prepared(data, model, out, recipe, changes, weights, workers, reporter, options) as (config, trainer):
        run = trainer.run_folder
        with _alone(run, trainer.devices, fresh=True):
            if trainer.devices.leads:
                run.write_splits(trainer.source.split_record())
                run.keep_teachers(config.recipe.distill.teacher)
                trainer.begin()
                run.write_config(config)
            return _run(trainer)


def dry_run(
    data: str | Path,
    model: str,
    *,
    out: str | Path,
    recipe: str | Recipe | None = None,
    changes: dict[str, Any] | None = None,
    weights: str | Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Rehearsal:
    """Check the data, draw augmented samples, measure a few steps, and stop: arguments as of `train`.

    Nothing is written but a picture of the samples, `dry-run.png` in the folder `out`.

    Raises:
        HswishError: what `train` would raise at its start.
    """
    with prepared(data, model, out, recipe, changes, weights, workers, reporter, options) as (_, trainer):
        return rehearse(trainer)


def resume(
    run: str | Path, *, workers: int | None = None, on_nan: str | None = None, reporter: Reporter | None = None
) -> RunResult:
    """Go on with the run in folder `run`, exactly as if it had not been interrupted.

    Args:
        workers: loading processes, if not as many as before; they do not change the result.
        on_nan: another value of the recipe's field from here on, for a run that it stopped.

    Raises:
        HswishError: no run there, a damaged checkpoint, or data that changed.
    """
    folder = RunFolder.open(run)
    config = folder.read_config()
    if workers is not None:
        config = replace(config, workers=workers)
    if on_nan is not None:
        config = replace(config, recipe=config.recipe.with_changes({"on_nan": on_nan}))
    with Devices(config.recipe.precision) as devices, _alone(folder, devices):
        reporter = reporter if reporter is not None and devices.leads else Reporter()
        if devices.leads:
            folder.clear_leftovers()
            if on_nan is not None:
                folder.write_config(config)
        trainer = _reopened(folder, config, devices, reporter)
        if trainer.at.finished:
            reporter.note(f"{run}: already finished after {trainer.at.epoch} epochs")
        return _run(trainer)


@contextmanager
def _alone(run: RunFolder, devices: Devices, *, fresh: bool = False) -> Iterator[None]:
    """Context in which this run has its folder to itself; a `fresh` one is made. The leading process holds the lock.

    Raises:
        SaveError: in every process: another run is at work there, or has been, or the folder cannot be made.
    """
    with ExitStack() as held:
        problem = ""
        if devices.leads:
            try:
                if fresh:
                    RunFolder.create(run.path)
                held.enter_context(run.alone())
                if fresh:
                    RunFolder.check_free(run.path)  # another run may have begun and ended in between
            except SaveError as error:
                problem = str(error)
        if problem := devices.leaders(problem):
            raise SaveError(problem)
        yield


def _reopened(folder: RunFolder, config: RunConfig, devices: Devices, reporter: Reporter) -> Trainer:
    """The trainer of an earlier run, where its last checkpoint has left it.

    Raises:
        DataError: the data changed, or there is no checkpoint, or another network's.
    """
    if Path(config.data).is_absolute() and not Path(config.data).exists():  # neither on the web nor built in
        raise DataError(
            f"{config.data}: the data of this run are not there any more; put them back, or write the path where "
            f"they are now into {folder.config}, as `data`"
        )
    source = open_data(config.data, task=task_of(config.model), seed=config.recipe.seed)
    source = source.with_splits(folder.read_splits())
    if source.classes != config.classes:
        raise DataError(f"{config.data}: its classes are not those of the run {folder.path} any more; start a new run")
    state = folder.read_checkpoint()
    if state is None:
        raise DataError(f"{folder.last}: missing; start a new run")
    network = build_model(config, source)
    assert config.preprocess is not None
    network.describe(preprocess=config.preprocess)
    copies = folder.teachers(config.recipe.distill.teacher)
    teacher = open_teachers(copies, network, config.recipe, devices.device)
    trainer = build_trainer(config, network, source, folder, devices, teacher, reporter)
    try:
        trainer.restore(state)
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{folder.last}: does not fit {folder.config}; start a new run") from error
    return trainer


def _run(trainer: Trainer) -> RunResult:
    run = trainer.run_folder
    trainer.reporter.start_run(run.path)
    draws = trainer.devices.leads
    try:
        trainer.run()
    except LostProcess:
        draws = False  # no time: torchrun ends this process, too
        raise
    finally:
        if draws:
            trainer.pictures.at_end()
        trainer.reporter.end_run()
    best = load(run.best)
    return RunResult(run=run.path, best=run.best, metrics=best.description.metrics["val"], epochs=trainer.at.epoch)
