"""The folder that shards are written into: marked until it is whole, cleared of what a killed process left."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from hswish.data.layouts.base import SPLIT_NAMES
from hswish.data.shards.index import INDEX_FILE, UNFINISHED_FILE
from hswish.data.tree import CLASSES_FILE
from hswish.spec.errors import SaveError
from hswish.spec.files import explain_os_error, write_text
from hswish.spec.folder_lock import alone_in

_OURS = re.compile(r"\d{6}\.tar|\.\d{6}\.tar\.[0-9a-f]{16}\.part")
"""Names of our shards, and of half-written ones (`spec/files.py`)."""
_NOTE = "hswish shard has not finished here. Run it again with the same --out: it begins anew.\n"


def shard_files(folder: Path) -> list[Path]:
    """The tar files in a folder and in the folders directly below it, in order."""
    return sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")])


@contextlib.contextmanager
def unfinished(folder: Path) -> Iterator[None]:
    """Context in which shards are written into `folder`, by one process at a time; it is marked until all went well.

    What an earlier, unfinished writing left is removed first.

    Raises:
        SaveError: shards are there already, or are being written; tar files of another tool; not writable.
    """
    if (folder / INDEX_FILE).exists():
        raise SaveError(f"{folder}: already holds shards; choose another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"cannot make the folder {folder}: {explain_os_error(error)}") from error
    with alone_in(folder, ".lock", "hswish shard"):
        _clear(folder)
        write_text(folder / UNFINISHED_FILE, _NOTE)
        yield
        (folder / UNFINISHED_FILE).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove our own leftovers.

    Raises:
        SaveError: there are tar files that are not ours, which would be mixed with ours.
    """
    split_folders = [folder / split for split in dict.fromkeys(SPLIT_NAMES.values())]
    for path in shard_files(folder):
        if path.parent not in split_folders or not _OURS.fullmatch(path.name):
            raise SaveError(f"{path}: a tar file that is not of `hswish shard`; choose another folder")
    leftovers = [path for split in split_folders for path in split.glob("*") if _OURS.fullmatch(path.name)]
    for name in (INDEX_FILE, CLASSES_FILE, UNFINISHED_FILE):
        leftovers += folder.glob(f".{name}.*.part")
    for path in leftovers:
        path.unlink(missing_ok=True)
