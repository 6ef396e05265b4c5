"""Training: a recipe, one loop, a run folder that can be resumed."""

from hswish.train.dry_run import Rehearsal
from hswish.train.fit import RunResult, dry_run, resume, train
from hswish.train.interrupt import Interrupted
from hswish.train.recipe import Recipe, parse_change
from hswish.train.recipe_files import list_recipes, load_recipe
from hswish.train.reporter import Reporter, Reporters

__all__ = [
    "Interrupted",
    "Recipe",
    "Rehearsal",
    "Reporter",
    "Reporters",
    "RunResult",
    "dry_run",
    "list_recipes",
    "load_recipe",
    "parse_change",
    "resume",
    "train",
]
