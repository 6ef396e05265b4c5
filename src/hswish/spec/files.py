"""Writing files so that nothing is ever lost: write aside, then rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hswish.spec.errors import SaveError


def expanded(path: str | Path) -> Path:
    """`path` with `~` as its home folder; `~nobody/x` stays as it is, where pathlib's own raises, and is no file."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def explain_os_error(error: OSError) -> str:
    """The cause of a failed write in words, with its remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and try again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "the folder is not writable; choose another one"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file stands where a folder is needed; choose another place"
    return (error.strerror or str(error)).lower()


@contextlib.contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step.

    The previous file stays intact whatever happens before the rename: an error, a full
    disk, a killed process.

    Raises:
        SaveError: the disk is full, or the folder is missing or not writable.
    """
    path = Path(path)
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _create_beside(path)
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise SaveError(f"cannot save {path}: {explain_os_error(error)}") from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) in one step."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON in one step."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a log such as `metrics.jsonl`.

    Raises:
        SaveError: the disk is full or the file is not writable.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise SaveError(f"cannot write {path}: {explain_os_error(error)}") from error


def _create_beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, with the permissions that the user's umask gives.

    `tempfile` would make it private, and the umask can only be asked for by changing it,
    for every thread at once.
    """
    aside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")  # names end at 255 bytes
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return aside
