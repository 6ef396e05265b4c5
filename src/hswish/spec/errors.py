"""Errors a user can act on: one line that names the file and the remedy.

Every error hswish raises on purpose is a `HswishError`; the command line prints its
message and exits with status 2. Anything else that escapes is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HswishError(Exception):
    """Something the user can put right; the message says what and how, in one line."""


class DataError(HswishError):
    """A data set that is missing, malformed or contradicts itself."""


class PictureError(DataError):
    """One file that cannot be read as a picture; a run skips and lists it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str]]:
        return type(self), (self.name, self.reason)


class ModelFileError(HswishError):
    """A file that is no hswish model, or a damaged or newer one."""


class DownloadError(HswishError):
    """A file that did not come whole: not there, not reachable, cut off, or not the bytes it should be."""


class ParityError(HswishError):
    """An exported file that does not answer as the network it was made of."""


class OptionError(HswishError):
    """An unknown name or a value out of range."""


class SaveError(HswishError):
    """A file that could not be written; what stood there before is intact."""


class MissingPackageError(HswishError):
    """An optional package that this step needs; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}: pip install 'hswish[{extra}]'")
        self.package, self.extra, self.purpose = package, extra, purpose

    def __reduce__(self) -> tuple[type[MissingPackageError], tuple[str, str, str]]:
        return type(self), (self.package, self.extra, self.purpose)


def unknown_name(kind: str, name: object, options: Iterable[str]) -> OptionError:
    """The error for `name` not being among `options`, with the nearest ones offered.

    >>> str(unknown_name("model", "mobilenet_v3_larg", ["mobilenet_v3_large", "vgg"]))
    "unknown model 'mobilenet_v3_larg'; did you mean mobilenet_v3_large?"
    """
    given = str(name)[:80]  # it may come from a damaged file: no message of a megabyte
    by_lower = {option.lower(): option for option in options}
    near = [by_lower[key] for key in difflib.get_close_matches(given.lower(), by_lower, n=3, cutoff=0.5)]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif by_lower:
        hint = f"choose from {', '.join(by_lower.values())}"
    else:
        hint = "there is none here"
    return OptionError(f"unknown {kind} {given!r}; {hint}")
