"""Naming output files: one of its own for each input, always inside the output folder."""

from __future__ import annotations

import os
from pathlib import Path

_MAX_STEM_BYTES = 180
"""Longest name taken over from an input: file systems end a name at 255 bytes, suffixes included."""


class OutputNames:
    """Gives each input an output path, never the same one twice.

    A picture keeps its place under the folder it was found in (`a/x.jpg` and `b/x.jpg` of one
    folder become `a/x.png` and `b/x.png`); where two would still meet, as `x.jpg` and `x.png`
    do, the later gets a number (`x-2.png`).

    >>> names = OutputNames(".png")
    >>> [str(names(Path(path))) for path in ("a/x.jpg", "a/x.webp", "b/x.jpg")]
    ['a/x.png', 'a/x-2.png', 'b/x.png']
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._used: dict[str, int] = {}  # path -> highest number tried for it

    def __call__(self, relative: Path) -> Path:
        """The output path, relative to the output folder, of an input at `relative`."""
        # An archive may call its members /etc/x.jpg or ../x.jpg: such parts are dropped.
        inside = Path(*[part for part in relative.parts if part not in (relative.anchor, os.pardir)] or ["picture"])
        wanted = path = _shortened(inside).with_suffix(self._suffix)
        while _key(path) in self._used:
            number = self._used[_key(wanted)] = self._used[_key(wanted)] + 1
            stem = wanted.name.removesuffix(self._suffix)
            path = wanted.with_name(f"{stem}-{number}{self._suffix}")
        self._used[_key(path)] = 1
        return path


def _shortened(path: Path) -> Path:
    """`path` with its name cut, so that a number and a suffix can be added to it."""
    stem = os.fsencode(path.stem)
    if len(stem) <= _MAX_STEM_BYTES:
        return path
    cut = os.fsencode(stem[:_MAX_STEM_BYTES].decode("utf-8", "ignore"))  # not within a letter
    return path.with_name(os.fsdecode(cut) + path.suffix[:20])


def _key(path: Path) -> str:
    return str(path).casefold()  # some file systems take X.png and x.png for one
