"""From what a user asks for to a trainer that is ready: data, recipe, network, start weights, teacher."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hswish.data import (
    BUILT_IN,
    DataSource,
    check_outside,
    class_frequencies,
    loss_weights,
    open_data,
    train_dataset,
)
from hswish.hub import locate
from hswish.models import DescribedModule, create_model, load
from hswish.spec.architecture import make_options, task_of
from hswish.spec.errors import DataError, OptionError
from hswish.spec.files import expanded
from hswish.train.devices import Devices
from hswish.train.largest_batch import largest_batch, what_limits
from hswish.train.learner import Learner
from hswish.train.loop import Trainer
from hswish.train.processor import has_bfloat16
from hswish.train.recipe import Recipe
from hswish.train.recipe_files import load_recipe
from hswish.train.reporter import Reporter
from hswish.train.run_folder import RunConfig, RunFolder
from hswish.train.sizes import choose_preprocess
from hswish.train.teachers.several import AnyTeacher, examine, open_teachers
from hswish.train.transfer import inherited_options, not_inherited, transfer

_RECIPE_OF = {
    "digits": "digits",
    "digit-scenes": "digit_scenes",
    "classification": "classify",
    "segmentation": "segment",
}
"""Recipe where the user names none: by built-in data set, else by task."""


AUTO = "auto"
"""As `batch_size` of `train(changes=...)`: the largest that fits, measured before the first step."""


@contextmanager
def prepared(
    data: str | Path,
    model: str,
    out: str | Path,
    recipe: str | Recipe | None,
    changes: dict[str, Any] | None,
    weights: str | Path | None,
    workers: int | None,
    reporter: Reporter | None,
    options: dict[str, Any],
) -> Iterator[tuple[RunConfig, Trainer]]:
    """Everything that a run needs, before anything of it is written; arguments as of `fit.train`."""
    inherited = inherited_options(weights, model) if weights is not None else {}
    make_options(model, **{**inherited, **options})  # a mistyped name shows before any data is read
    name, plan = _choose_recipe(recipe, data, model)
    changes = dict(changes or {})
    auto = changes.get("batch_size") == AUTO and bool(changes.pop("batch_size"))
    plan = plan.with_changes(changes)
    if plan.finetune.freeze_epochs and weights is None:
        raise OptionError("finetune.freeze_epochs is for trained weights; give some by --weights, or set it to 0")
    with Devices(plan.precision) as devices:
        reporter = reporter if reporter is not None and devices.leads else Reporter()
        run = RunFolder(Path(devices.leaders(str(out))))
        check_outside(run.path, data)
        source = open_data(data, task=task_of(model), seed=plan.seed)
        if not source.hints.mirror and "augment.mirror" not in changes:
            plan = plan.with_changes({"augment.mirror": 0.0})
        teachers = tuple(_absolute(locate(teacher)) for teacher in plan.distill.teacher)
        plan = plan.with_changes({"distill.teacher": teachers})
        config = RunConfig(
            data=_absolute(data),
            model=model,
            options={**inherited, **not_inherited(plan.model_options, inherited, model), **options},
            classes=source.classes,
            recipe_name=name,
            recipe=plan,
            weights=_absolute(weights) if weights else None,
            workers=workers,
            versions={"hswish": version("hswish"), "torch": torch.__version__, "python": platform.python_version()},
        )
        network = build_model(config, source)
        network.describe(preprocess=choose_preprocess(source, plan, network.preprocess))
        if config.weights is not None:
            reporter.note(_start_from(config.weights, network, plan))
        config = replace(config, preprocess=network.preprocess)
        teacher = open_teachers([Path(name) for name in teachers], network, plan, devices.device)
        if auto:
            config = _with_largest_batch(config, network, source, devices, teacher, reporter)
        for line in examine(teacher, source, config.recipe.batch_size):
            reporter.note(line)
        yield config, build_trainer(config, network, source, run, devices, teacher, reporter)


def _absolute(path: str | Path) -> str:
    """The path so that a run can be resumed from anywhere; a built-in data set's name stays."""
    found = expanded(path)
    return str(found.resolve()) if found.exists() else str(path)


def _choose_recipe(recipe: str | Recipe | None, data: str | Path, model: str) -> tuple[str, Recipe]:
    if isinstance(recipe, Recipe):
        return "custom", recipe
    if recipe is None:
        built_in = str(data) in BUILT_IN and not Path(data).exists()
        recipe = _RECIPE_OF[str(data) if built_in else task_of(model)]
    return recipe, load_recipe(recipe)


def build_model(config: RunConfig, source: DataSource) -> DescribedModule:
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
    """Copy what fits from the file `weights`, its preprocessing too; the size only if the recipe sets none.

    A segmenter takes from its backbone's classifier what pictures look like to it: normalisation and channels.
    """
    start = load(weights)
    copied = transfer(start, model, model.classes, weights)
    if start.description.task != model.description.task:
        seen = start.preprocess
        model.describe(preprocess=replace(model.preprocess, mean=seen.mean, std=seen.std, channels=seen.channels))
    elif recipe.height is None and recipe.width is None:
        model.describe(preprocess=start.preprocess)
    else:
        ours = model.preprocess
        fitting = replace(start.preprocess, height=ours.height, width=ours.width, crop_fraction=ours.crop_fraction)
        model.describe(preprocess=fitting)
    return copied


def build_trainer(
    config: RunConfig,
    model: DescribedModule,
    source: DataSource,
    run: RunFolder,
    devices: Devices,
    teacher: AnyTeacher | None,
    reporter: Reporter,
) -> Trainer:
    """The trainer of a run; says what its data are like.

    Raises:
        DataError: a split without pictures, or masks that contradict themselves.
        OptionError: a recipe that does not suit network, data or processes.
    """
    recipe = config.recipe
    for split, purpose in (("train", "learn from"), ("val", "validate on")):
        if not source.splits.get(split):
            raise DataError(f"{source.location}: no pictures to {purpose}; put some into {split}/, or add more")
    if source.task == "classification" and len(source.classes) == 1:
        reporter.note(
            f"warning: {source.location}: its only class is {source.classes[0]}, so there is nothing to tell apart and "
            "every score is 1; give each class a folder of its own"
        )
    if recipe.precision == "bf16-mixed" and devices.device.type == "cpu" and not has_bfloat16():
        reporter.note(
            "warning: precision=bf16-mixed: this processor has no instructions for bfloat16, so training takes about "
            "ten times as long as in float32; use --set precision=32-true"
        )
    for name, reason in source.skipped:
        reporter.note(f"skipped {name}: {reason}")
    reporter.note(_describe_data(source))
    weights = _class_weights(source, recipe)
    learner = Learner(model, recipe, devices, class_weights=weights, teacher=teacher)
    dataset = train_dataset(source, recipe.augment, model.preprocess, recipe.seed)
    return Trainer(learner, source, dataset, recipe, run, reporter, workers=config.workers)


def _class_weights(source: DataSource, recipe: Recipe) -> torch.Tensor | None:
    """Weight of each class in the loss, (K,); None: equal.

    Reads every mask, also of val: contradictions show now, not in hours.
    """
    weights = None
    if recipe.class_weights != "none":
        weights = torch.from_numpy(loss_weights(source, "train", recipe.class_weights))
    elif source.task == "segmentation":
        class_frequencies(source, "train")
    if source.task == "segmentation":
        class_frequencies(source, "val")
    return weights


def _with_largest_batch(
    config: RunConfig,
    model: DescribedModule,
    source: DataSource,
    devices: Devices,
    teacher: AnyTeacher | None,
    reporter: Reporter,
) -> RunConfig:
    """`config` with the largest batch that fits; it is part of the run from here on, so that resuming is exact."""
    state = torch.get_rng_state()
    pictures = len(source.splits.get("train", ()))
    size = devices.leaders(devices.world_size * largest_batch(model, config.recipe, devices, pictures, teacher))
    torch.set_rng_state(state)
    why = what_limits(size // devices.world_size, pictures // devices.world_size)
    reporter.note(f"batch size {size}: {why}; the recipe's learning rate is for {config.recipe.batch_size}")
    return replace(config, recipe=config.recipe.with_changes({"batch_size": size}))


def _provenance(config: RunConfig, source: DataSource) -> dict[str, Any]:
    stated = {"licence": config.recipe.licence} if config.recipe.licence else {}
    return {
        "data": source.name,
        "pictures": {split: len(items) for split, items in source.splits.items()},
        "recipe": config.recipe_name,
        "epochs": config.recipe.epochs,
        "seed": config.recipe.seed,
        "weights": Path(config.weights).name if config.weights else None,
        "teacher": ", ".join(Path(teacher).name for teacher in config.recipe.distill.teacher) or None,
        "versions": config.versions,
        **stated,
    }


def _describe_data(source: DataSource) -> str:
    counts = ", ".join(f"{len(items)} {split}" for split, items in source.splits.items())
    text = f"{source.name}: {source.task}, {len(source.classes)} classes"
    return f"{text}, {source.made_splits}" if source.made_splits else f"{text}, {counts}"
