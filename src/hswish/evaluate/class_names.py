"""Matching a data set's classes to a model's by name: an index alone means nothing across files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hswish.data.source import DataSource
from hswish.spec.artifact import Description
from hswish.spec.errors import DataError


def match_classes(source: DataSource, description: Description) -> NDArray[np.int64]:
    """The model's index of each of the data's classes, by name.

    The data may list the same classes in another order, or only some of them.

    Returns:
        (max(256, number of classes),) int64, indexed by the data's class index; values beyond
        the data's classes, and so 255 in a mask, stand for themselves.

    Raises:
        DataError: the tasks differ, or the data has a class that the model does not know.
    """
    if source.task != description.task:
        raise DataError(
            f"{source.location}: is for {source.task}, the model {description.model} for {description.task}; "
            "use a model or data set of the other kind"
        )
    ours, theirs = description.classes, source.classes
    table = np.arange(max(256, len(theirs)))
    if theirs == ours:
        return table
    place = {name: index for index, name in enumerate(ours)}
    unknown = [name for name in theirs if name not in place]
    if unknown:
        raise DataError(
            f"{source.location}: has {len(theirs)} classes, the model {len(ours)}, and the model does not know "
            f"{unknown[0]!r}; use the data it was trained for, rename the class, or train on this data"
        )
    table[: len(theirs)] = [place[name] for name in theirs]
    return table
