"""A recipe: everything that decides how a network is trained, as one frozen record.

The files in `recipes/` each make one; flags of `hswish train` override single fields.
"""

from __future__ import annotations

import importlib.util
import types
import typing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import hswish
from hswish.data import Augment, WeightRule
from hswish.spec.errors import OptionError, unknown_name

OptimizerName = Literal["sgd", "rmsprop", "adamw"]
ScheduleName = Literal["cosine", "poly", "constant"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Raises:
        OptionError: a value is out of range.
    """

    epochs: int = 60
    """passes over the training pictures"""
    batch_size: int = 64
    """pictures a step"""
    height: int | None = None
    """input height in pixels; alone: the shorter side; None: chosen from the data"""
    width: int | None = None
    """input width in pixels; alone: the shorter side"""
    optimizer: OptimizerName = "adamw"
    """sgd (Nesterov), rmsprop (the paper's) or adamw"""
    lr: float = 2e-3
    """highest learning rate"""
    weight_decay: float = 0.02
    """of convolution and linear weights; norms and biases have none"""
    momentum: float = 0.9
    """of sgd and rmsprop"""
    schedule: ScheduleName = "cosine"
    """course of the learning rate after the warm-up, down to 0"""
    warmup_epochs: float = 2.0
    """linear rise from 0 to `lr`"""
    label_smoothing: float = 0.1
    """share of the target spread over all classes, in [0, 1)"""
    class_weights: WeightRule = "none"
    """weight of rare classes in the loss: inverse_log (ENet) or median (frequency)"""
    clip_norm: float = 5.0
    """gradients are scaled down to this norm; 0: never"""
    ema_decay: float = 0.998
    """of the averaged weights, which are the ones measured and kept; 0: no average"""
    bn_momentum: float = 0.1
    """share of a batch in batch norm's running statistics (the paper's long runs: 0.01)"""
    dropout: float | None = None
    """rate before the last layer; None: the network's own default"""
    augment: Augment = field(default_factory=Augment)
    """what happens to a training picture"""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """arithmetic, in Lightning's names"""
    seed: int = 0
    """of weights, order, augmentation, dropout and splits"""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            _at_least(self, name, least)
        if self.seed >= 2**32:
            raise OptionError(f"seed must be below {2**32}, not {self.seed}")
        for name in ("lr", "weight_decay", "momentum", "warmup_epochs", "clip_norm"):
            _at_least(self, name, 0)
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                _at_least(self, name, 8)
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name} must be in [0, 1), not {getattr(self, name)!r}")
        if not 0 < self.bn_momentum <= 1:
            raise OptionError(f"bn_momentum must be in (0, 1], not {self.bn_momentum!r}")
        for item in fields(self):
            choices = typing.get_args(typing.get_type_hints(type(self))[item.name])
            value = getattr(self, item.name)
            if choices and isinstance(choices[0], str) and value not in choices:
                raise unknown_name(item.name, value, choices)

    def with_changes(self, changes: dict[str, Any]) -> Recipe:
        """A copy with some fields set; those of `augment` are reached as `augment.scale`.

        Raises:
            OptionError: an unknown field (nearest names offered) or a value out of range.
        """
        known = field_names()
        own: dict[str, Any] = {}
        augment: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise unknown_name("recipe field", name, known)
            target = augment if name.startswith("augment.") else own
            target[name.removeprefix("augment.")] = value
        try:
            return replace(self, **own, augment=replace(self.augment, **augment))
        except TypeError as error:
            raise OptionError(f"recipe: a value has the wrong type ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The reverse of `to_dict`, as read from a run's `config.json`.

        Raises:
            OptionError: an unknown field or a value out of range.
        """
        flat = {name: value for name, value in values.items() if name != "augment"}
        for name, value in values.get("augment", {}).items():
            flat[f"augment.{name}"] = tuple(value) if isinstance(value, list) else value
        return cls().with_changes(flat)


def field_names() -> list[str]:
    """Fields that `with_changes` takes."""
    own = [item.name for item in fields(Recipe) if item.name != "augment"]
    return own + [f"augment.{item.name}" for item in fields(Augment)]


def parse_change(text: str) -> tuple[str, Any]:
    """`name=value` from a command line, the value read as the field's type.

    Raises:
        OptionError: no `=`, an unknown field, or a value of another type.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"--set takes name=value, not {text!r}")
    if name not in field_names():
        raise unknown_name("recipe field", name, field_names())
    owner = Augment if name.startswith("augment.") else Recipe
    hint = typing.get_type_hints(owner)[name.removeprefix("augment.")]
    try:
        return name, _parse_value(value, hint)
    except ValueError as error:
        raise OptionError(f"--set {name}: {value!r} is not of the right type") from error


def _parse_value(text: str, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        if text.lower() == "none":
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is tuple:
        return tuple(float(part) for part in text.strip("()").split(","))
    return hint(text) if hint in (int, float) else text


def _at_least(recipe: Recipe, name: str, least: int) -> None:
    """Raises OptionError: the field is below `least`, not finite, or a fraction where whole numbers count."""
    value, hint = getattr(recipe, name), typing.get_type_hints(Recipe)[name]
    numbers = (int, float) if hint is float else (int,)
    if isinstance(value, bool) or not isinstance(value, numbers) or not least <= value < float("inf"):
        whole = "" if hint is float else "a whole number, "
        raise OptionError(f"{name} must be {whole}{least} or more, not {value!r}")


# --------------------------------------------------------------------------------------
# The recipes that come with hswish
# --------------------------------------------------------------------------------------


def recipe_folder() -> Path:
    """Where the recipe files lie: in the installed package, or in a clone beside `src/`."""
    package = Path(hswish.__file__).parent
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def list_recipes() -> list[str]:
    """Names that `load_recipe` takes."""
    return sorted(path.stem for path in recipe_folder().glob("*.py"))


def load_recipe(name: str) -> Recipe:
    """The recipe called `name`, or the one in a `.py` file of the user's own.

    Raises:
        OptionError: an unknown name (nearest offered), or a file that makes no `RECIPE`.
    """
    path = Path(name) if name.endswith(".py") else recipe_folder() / f"{name}.py"
    if not path.is_file():
        raise unknown_name("recipe", name, list_recipes())
    spec = importlib.util.spec_from_file_location(f"hswish_recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code may raise
        raise OptionError(f"recipe {path}: {type(error).__name__}: {error}") from error
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise OptionError(f"recipe {path}: it must set RECIPE = Recipe(...)")
    return recipe
