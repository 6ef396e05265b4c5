"""The recipes that come with hswish, and those in a file of the user's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import hswish
from hswish.spec.errors import OptionError, unknown_name
from hswish.train.recipe import Recipe


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
    except (Exception, SystemExit) as error:  # whatever the user's own code may raise, also to end itself
        raise OptionError(f"recipe {path}: {type(error).__name__}: {error}") from error
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise OptionError(f"recipe {path}: it must set RECIPE = Recipe(...)")
    return recipe
