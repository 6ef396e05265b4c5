"""`classes.txt`: one class name a line."""

from __future__ import annotations

from collections.abc import Sequence

from hswish.data.tree import CLASSES_FILE
from hswish.spec.errors import DataError


def parse_class_names(content: bytes, place: str, most: int) -> tuple[str, ...]:
    """The names in the file `place`, which may hold up to `most`; a class is the number of its line, from 0.

    Raises:
        DataError: empty, not text, with a gap, a duplicate or too many names.
    """
    try:
        lines = content.decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: is not UTF-8 text; save it anew") from error
    names = [line.strip() for line in lines]
    if not names:
        raise DataError(f"{place}: is empty; write one class name a line, the first for class 0")
    if len(names) > most:
        raise DataError(f"{place}: {len(names)} classes, {most} (0 to {most - 1}) are possible; remove some")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{place}: line {number} is blank and would shift the classes below; name or remove it")
        if name in seen:
            raise DataError(f"{place}: class {name!r} stands on lines {seen[name]} and {number}; keep one")
        seen[name] = number
    return tuple(names)


def class_names_text(names: Sequence[str], place: str) -> str:
    """The content of a `classes.txt`; the reverse is `parse_class_names`.

    Args:
        place: what an error calls the data set.

    Raises:
        DataError: a name that such a file cannot hold: of several lines, or not of UTF-8.
    """
    for name in names:
        several = name.splitlines() != [name]
        if several or name.encode("utf-8", "replace").decode("utf-8") != name:
            why = "is not one line" if several else "is not UTF-8 text"
            raise DataError(
                f"{place}: the name of the class {name!r} {why}, which {CLASSES_FILE} needs; rename its folder"
            )
    return "".join(f"{name}\n" for name in names)
