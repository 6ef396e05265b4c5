"""What a teacher of another library must show before anyone learns from it.

Its file knows neither its classes nor how its pictures were made. One with other classes, or used to other
pictures, does no better than chance.
"""

from __future__ import annotations

import math

from hswish.data.source import DataSource
from hswish.evaluate import evaluate
from hswish.runtime.foreign import ForeignEngine
from hswish.spec.errors import OptionError

_EXAMINED = 500
"""pictures of val"""


def examined(engine: ForeignEngine, source: DataSource, batch_size: int) -> str:
    """A line that says how well a teacher does on pictures of val.

    Args:
        engine: the teacher, with the student's description.

    Raises:
        OptionError: no better than chance, or it does not take the pictures.
    """
    description = engine.description
    measured = evaluate(engine, source, "val", batch_size=batch_size, limit=_EXAMINED)
    name, score = measured.headline
    result = f"{name} {score:.4f} on {measured.count} pictures of val"
    if not beats_chance(score, len(measured.classes), measured.count):
        order = ", ".join(measured.classes[:4]) + (", ..." if len(measured.classes) > 4 else "")
        raise OptionError(
            f"{engine.path}: a teacher no better than chance ({result}); its outputs must be {order} in this "
            f"order, its pictures {description.preprocess.channels} of mean {description.preprocess.mean} "
            f"and deviation {description.preprocess.std}"
        )
    return f"teacher {engine.path.name}: {result}, run by {engine.name}"


def beats_chance(score: float, classes: int, count: int) -> bool:
    """Whether a score on `count` pictures is more than a standard error above that of guessing."""
    chance = 1 / classes
    return classes == 1 or score > chance + math.sqrt(chance * (1 - chance) / count)
