"""Bad files: which ones a run may skip, and when there are too many of them.

A damaged picture is skipped and listed; a contradiction (a mask of another size, an index
without a class) means that the data set itself is wrong, and ends the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hswish.spec.errors import DataError

MAX_BAD_FRACTION = 0.1
"""Part of a data set that may be unreadable before training on the rest would mislead."""


class TooManyBad(DataError):  # noqa: N818 - what is the matter
    """More than a tenth of a data set cannot be read."""


@dataclass(frozen=True)
class BadFile:
    """A file that could not be used; travels from a loading process instead of an exception."""

    name: str
    """the file, as an error names it"""
    reason: str
    """what is wrong with it, with the remedy"""
    fatal: bool = False
    """the data set contradicts itself: raise, do not skip"""


def raise_fatal(bad: Iterable[BadFile]) -> None:
    """Raise the first fatal problem among `bad`, if there is one.

    Raises:
        DataError: with the line that the loading process would have raised.
    """
    for problem in bad:
        if problem.fatal:
            raise DataError(f"{problem.name}: {problem.reason}")


def too_many_bad(bad: Mapping[str, str], total: int) -> None:
    """Refuse a data set of which more than a tenth cannot be read.

    Args:
        bad: reason by file name (so a file met in every epoch counts once).
        total: files in the data set, the bad ones included.

    Raises:
        TooManyBad: names the first one.
    """
    if len(bad) > MAX_BAD_FRACTION * total:
        name, reason = next(iter(bad.items()))
        raise TooManyBad(
            f"{len(bad)} of {total} files cannot be used, more than {MAX_BAD_FRACTION:.0%}; "
            f"repair or remove them, first {name}: {reason}"
        )
