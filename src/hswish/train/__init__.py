"""Training: a recipe, one loop, a run folder that can be resumed."""

from hswish.train.fit import RunResult, resume, train
from hswish.train.interrupt import Interrupted
from hswish.train.recipe import Recipe, list_recipes, load_recipe, parse_change
from hswish.train.reporter import Reporter

__all__ = [
    "Interrupted",
    "Recipe",
    "Reporter",
    "RunResult",
    "list_recipes",
    "load_recipe",
    "parse_change",
    "resume",
    "train",
]
