"""Recipes: checked values, overrides by name, files that open with command and score."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from pathlib import Path

import pytest

from hswish.data import Augment
from hswish.spec.errors import OptionError
from hswish.train import Recipe, list_recipes, load_recipe, parse_change
from hswish.train.recipe import PARTS, field_names
from hswish.train.recipe_files import recipe_folder
from hswish.train.recipe_groups import Distillation, FineTuning, Loss


@pytest.mark.parametrize("name", list_recipes())
def test_each_recipe_file_makes_a_recipe_and_says_its_command(name: str) -> None:
    assert isinstance(load_recipe(name), Recipe)
    docstring = ast.get_docstring(ast.parse((recipe_folder() / f"{name}.py").read_text()))
    assert docstring is not None
    assert "hswish train" in docstring


def test_the_default_recipes_are_there() -> None:
    assert {"classify", "segment", "digits", "digit_scenes"} <= set(list_recipes())


def test_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean classify"):
        load_recipe("clasify")


def test_a_recipe_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from hswish.train import Recipe\nRECIPE = Recipe(epochs=3)\n")
    assert load_recipe(str(file)).epochs == 3


@pytest.mark.parametrize(
    "text", ["RECIPE = 3\n", "RECIPE = (\n", "import no_such_module\n", "RECIPE = Recipe()\n", "exit(3)\n"]
)
def test_a_recipe_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(OptionError, match=r"mine\.py"):
        load_recipe(str(file))


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 0},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"height": 4},
        {"label_smoothing": 1.0},
        {"ema_decay": 1.0},
        {"bn_momentum": 0.0},
        {"optimizer": "adam"},
        {"schedule": "linear"},
        {"class_weights": "median_frequency"},
        {"seed": -1},
        {"accumulate": 0},
        {"patience": -1},
        {"drop_path": 1.0},
        {"step_factor": 1.5},
        {"step_epochs": 0.0},
        {"mix_probability": 1.1},
        {"on_nan": "go on"},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Recipe(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("held", "false", "True or False"),
        ("compiled", 0, "True or False"),
        ("model_options", None, "a dict"),
        ("augment", {"mirror": 0.5}, r"Augment\(\.\.\.\)"),
        ("loss", "focal", r"Loss\(\.\.\.\)"),
        ("finetune", None, r"FineTuning\(\.\.\.\)"),
        ("distill", "big.onnx", r"Distillation\(\.\.\.\)"),
        ("label_smoothing", "0.1", "a number"),
        ("dropout", True, "a number"),
        ("licence", None, "a text"),
    ],
)
def test_values_of_another_type_are_refused_by_name(name: str, value: object, wanted: str) -> None:
    """In a recipe file, and in config.json as far as it keeps the groups apart."""
    said = rf"^{name} must be {wanted}, not {re.escape(repr(value))}($|; .*with_changes)"
    with pytest.raises(OptionError, match=said):
        Recipe(**{name: value})  # type: ignore[arg-type]
    if name not in PARTS:
        with pytest.raises(OptionError, match=said):
            Recipe.from_dict({**Recipe().to_dict(), name: value})


def test_changes_reach_the_recipe_and_its_augmentation() -> None:
    recipe = Recipe().with_changes({"epochs": 7, "augment.mirror": 0.0, "augment.scale": (0.5, 1.0)})
    assert (recipe.epochs, recipe.augment.mirror, recipe.augment.scale) == (7, 0.0, (0.5, 1.0))
    assert recipe.lr == Recipe().lr
    with pytest.raises(OptionError, match="did you mean epochs"):
        Recipe().with_changes({"epoch": 7})
    with pytest.raises(OptionError, match=r"augment\.mirror"):
        Recipe().with_changes({"augment.miror": 0.0})


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (Loss, {"pixel": "crossentropy"}),
        (Loss, {"region": "iou"}),
        (Loss, {"auxiliary": -0.1}),
        (Loss, {"stride": 0}),
        (Loss, {"ohem_keep": 1.5}),
        (FineTuning, {"freeze_epochs": 1.5}),
        (FineTuning, {"depth_decay": 0.0}),
        (FineTuning, {"depth_decay": 1.1}),
        (Distillation, {"weight": 2.0}),
        (Distillation, {"temperature": 0.0}),
    ],
)
def test_values_of_a_part_out_of_range(part: type, values: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(values))):
        part(**values)


def test_dict_round_trip() -> None:
    recipe = Recipe(
        epochs=9,
        optimizer="sgd",
        model_options={"keep_size": 2},
        augment=Augment(scale=(0.5, 0.9), mirror=0.25),
        loss=Loss(region="lovasz", auxiliary=0.4),
        finetune=FineTuning(freeze_epochs=2, depth_decay=0.8),
        distill=Distillation(teacher=("big.safetensors", "other.onnx"), temperature=3.0),
    )
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(("before", "now"), [(None, ()), ("big.safetensors", ("big.safetensors",))])
def test_runs_from_when_there_was_one_teacher_at_most(before: str | None, now: tuple[str, ...]) -> None:
    assert Recipe.from_dict({"distill": {"teacher": before}}).distill.teacher == now


def test_changes_from_a_command_line() -> None:
    assert parse_change("epochs=5") == ("epochs", 5)
    assert parse_change("lr=1e-3") == ("lr", 0.001)
    assert parse_change("optimizer=sgd") == ("optimizer", "sgd")
    assert parse_change("height=none") == ("height", None)
    assert parse_change("height=96") == ("height", 96)
    assert parse_change("augment.scale=0.5,1") == ("augment.scale", (0.5, 1.0))
    assert parse_change("loss.region=dice") == ("loss.region", "dice")
    assert parse_change("compiled=true") == ("compiled", True)
    assert parse_change("distill.teacher=a.safetensors,b.onnx") == ("distill.teacher", ("a.safetensors", "b.onnx"))
    for text in ("epochs", "epochs=five", "epoch=5", "compiled=maybe", "model_options=1", "loss.regions=dice"):
        with pytest.raises(OptionError):
            parse_change(text)


@pytest.mark.parametrize("record", [Recipe, *PARTS.values()])
def test_every_field_is_documented(record: type) -> None:
    source = ast.parse(inspect.getsource(record))
    body = next(node for node in source.body if isinstance(node, ast.ClassDef)).body
    for field, line in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(line, ast.Expr), f"{ast.unparse(field.target)} has no line under it"
    assert "augment.mirror" in field_names()
