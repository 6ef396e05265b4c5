"""The two things a user asks for: train on some data, and go on with a run."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hswish.data import (
    BUILT_IN,
    DataSource,
    PictureDataset,
    TrainTransform,
    class_frequencies,
    class_weights,
    open_data,
)
from hswish.evaluate import curves_picture, prediction_page
from hswish.hub import locate
from hswish.models import DescribedModule, create_model, load
from hswish.models.engine import TorchEngine
from hswish.spec.architecture import make_options, task_of
from hswish.spec.artifact import read_description
from hswish.spec.errors import DataError, OptionError
from hswish.train.loop import Trainer
from hswish.train.recipe import Recipe, load_recipe
from hswish.train.reporter import Reporter
from hswish.train.run_folder import RunConfig, RunFolder
from hswish.train.sizes import choose_preprocess
from hswish.train.transfer import transfer

_RECIPE_OF = {
    "digits": "digits",
    "digit-scenes": "digit_scenes",
    "classification": "classify",
    "segmentation": "segment",
}
"""Recipe where the user names none: by built-in data set, else by task."""


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
        data: folder, `.zip` or built-in name.
        model: architecture, one of `hswish.list_models()`.
        recipe: a `Recipe`, the name of one, or None for the one that fits the data.
        changes: recipe fields to override, e.g. `{"epochs": 10, "augment.mirror": 0.0}`.
        weights: model to start from (whatever `hswish.load` takes); layers that do not fit are drawn afresh.
        options: of the architecture, such as `width_mult`, by default those of `weights`;
            `num_classes` must fit the data.

    Raises:
        HswishError: bad data, an unknown name, a contradiction; the message says what to do.
    """
    reporter = reporter or Reporter()
    if weights is not None:
        options = {**_options_of(weights, model), **options}
    make_options(model, **options)  # a mistyped name shows before any data is read
    RunFolder.check_free(out)
    name, plan = _choose_recipe(recipe, data, model)
    plan = plan.with_changes(changes or {})
    source = open_data(data, task=task_of(model), seed=plan.seed)
    if not source.hints.mirror and "augment.mirror" not in (changes or {}):
        plan = plan.with_changes({"augment.mirror": 0.0})
    config = RunConfig(
        data=_absolute(data),
        model=model,
        options=options,
        classes=source.classes,
        recipe_name=name,
        recipe=plan,
        weights=_absolute(weights) if weights else None,
        workers=workers,
        versions={"hswish": version("hswish"), "torch": torch.__version__, "python": platform.python_version()},
    )
    network = _build_model(config, source)
    network.describe(preprocess=choose_preprocess(source, plan, network.preprocess))
    if config.weights is not None:
        reporter.note(_start_from(config.weights, network, plan))
    config = replace(config, preprocess=network.preprocess)
    trainer = _build_trainer(config, network, source, RunFolder(Path(out)), reporter)
    run = RunFolder.create(out)
    run.write_config(config)
    run.write_splits(source.split_record())
    return _run(trainer)


def resume(run: str | Path, *, workers: int | None = None, reporter: Reporter | None = None) -> RunResult:
    """Go on with the run in folder `run`, exactly as if it had not been interrupted.

    Args:
        workers: loading processes, if not as many as before; they do not change the result.

    Raises:
        HswishError: no run there, a damaged checkpoint, or data that changed.
    """
    reporter = reporter or Reporter()
    folder = RunFolder.open(run)
    config = folder.read_config()
    if workers is not None:
        config = replace(config, workers=workers)
    source = open_data(config.data, task=task_of(config.model), seed=config.recipe.seed)
    source = source.with_splits(folder.read_splits())
    if source.classes != config.classes:
        raise DataError(f"{config.data}: its classes are not those of the run {run} any more; start a new run")
    state = folder.read_checkpoint()
    network = _build_model(config, source)
    assert config.preprocess is not None
    network.describe(preprocess=config.preprocess)
    if config.weights is not None and state is None:
        reporter.note(_start_from(config.weights, network, config.recipe))
    trainer = _build_trainer(config, network, source, folder, reporter)
    if state is not None:
        try:
            trainer.restore(state)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{folder.last}: does not fit {folder.config}; start a new run") from error
    if trainer.epoch >= config.recipe.epochs:
        reporter.note(f"{run}: already finished after {trainer.epoch} epochs")
    return _run(trainer)


def _options_of(weights: str | Path, model: str) -> dict[str, Any]:
    """What makes `weights` the network it is (width, padding, epsilon, ...); nothing where it is another one."""
    description = read_description(locate(weights))
    if description.model != model:  # refused with the remedy when its weights are copied
        return {}
    return {name: value for name, value in description.options.items() if name not in ("num_classes", "dropout")}


def _absolute(path: str | Path) -> str:
    """The path so that a run can be resumed from anywhere; a built-in data set's name stays."""
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else str(path)


def _choose_recipe(recipe: str | Recipe | None, data: str | Path, model: str) -> tuple[str, Recipe]:
    if isinstance(recipe, Recipe):
        return "custom", recipe
    if recipe is None:
        built_in = str(data) in BUILT_IN and not Path(data).exists()
        recipe = _RECIPE_OF[str(data) if built_in else task_of(model)]
    return recipe, load_recipe(recipe)


def _build_model(config: RunConfig, source: DataSource) -> DescribedModule:
    """A fresh network for the data's classes.

    Raises:
        OptionError: options that contradict the data.
    """
    recipe, options = config.recipe, dict(config.options)
    asked, count = options.get("num_classes"), len(source.classes)
    if asked is not None and asked != count:
        raise OptionError(
            f"num_classes is {asked}, but {source.location} has {count} classes "
            f"({', '.join(source.classes[:5])}{', ...' if count > 5 else ''}); leave it out"
        )
    options["num_classes"] = count
    options.setdefault("bn_momentum", recipe.bn_momentum)
    if recipe.dropout is not None:
        options.setdefault("dropout", recipe.dropout)
    torch.manual_seed(recipe.seed)
    model = create_model(config.model, **options)
    assert isinstance(model, DescribedModule)
    channels = model.architecture.options.in_channels
    if channels not in (1, 3):
        raise OptionError(f"in_channels is {channels}, but pictures have 3 channels (or 1, as grey)")
    model.describe(classes=source.classes, provenance=_provenance(config, source))
    return model


def _start_from(weights: str, model: DescribedModule, recipe: Recipe) -> str:
    """Copy what fits from the file `weights`, its input size too unless the recipe sets one."""
    start = load(weights)
    copied = transfer(start, model, model.classes, weights)
    if recipe.height is None and recipe.width is None:
        model.describe(preprocess=start.preprocess)
    return copied


def _build_trainer(
    config: RunConfig, model: DescribedModule, source: DataSource, run: RunFolder, reporter: Reporter
) -> Trainer:
    recipe = config.recipe
    for split, purpose in (("train", "learn from"), ("val", "validate on")):
        if not source.splits.get(split):
            raise DataError(f"{source.location}: no pictures to {purpose}")
    for name, reason in source.skipped:
        reporter.note(f"skipped {name}: {reason}")
    reporter.note(_describe_data(source))
    weights = None
    if source.task == "segmentation" or recipe.class_weights != "none":
        frequencies = class_frequencies(source, "train")  # reads every mask: contradictions show now, not in hours
        if recipe.class_weights != "none":
            weights = torch.from_numpy(class_weights(frequencies, recipe.class_weights))
    if source.task == "segmentation":
        class_frequencies(source, "val")
    transform = TrainTransform(recipe.augment, model.preprocess, source.task)
    dataset = PictureDataset(source, "train", transform, recipe.seed)
    return Trainer(model, source, dataset, recipe, run, reporter, class_weights=weights, workers=config.workers)


def _provenance(config: RunConfig, source: DataSource) -> dict[str, Any]:
    return {
        "data": source.name,
        "pictures": {split: len(items) for split, items in source.splits.items()},
        "recipe": config.recipe_name,
        "epochs": config.recipe.epochs,
        "seed": config.recipe.seed,
        "weights": Path(config.weights).name if config.weights else None,
        "versions": config.versions,
    }


def _describe_data(source: DataSource) -> str:
    counts = ", ".join(f"{len(items)} {split}" for split, items in source.splits.items())
    text = f"{source.name}: {source.task}, {len(source.classes)} classes"
    return f"{text}, {source.made_splits}" if source.made_splits else f"{text}, {counts}"


def _run(trainer: Trainer) -> RunResult:
    run = trainer.run_folder
    try:
        trainer.run()
    finally:
        _draw(trainer)
    best = load(run.best)
    return RunResult(run=run.path, best=run.best, metrics=best.description.metrics["val"], epochs=trainer.epoch)


def _draw(trainer: Trainer) -> None:
    """Curves and predictions, also of a run that was interrupted; never the reason for a failure."""
    run = trainer.run_folder
    try:
        rows = run.rows()
        if rows and run.best.exists():
            curves_picture(rows, run.curves)
            prediction_page(TorchEngine(load(run.best)), trainer.source, "val", run.predictions)
    except (Exception, KeyboardInterrupt) as error:
        trainer.reporter.note(f"no pictures of this run: {error or type(error).__name__}")
