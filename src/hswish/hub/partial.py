"""A file that is coming: the bytes so far, and what its server called that version of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from hswish.spec.files import write_json


class Partial:
    """`NAME.part` beside the file it will become; it stays when a download is cut.

    Attributes:
        path: the bytes so far.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.with_name(f"{target.name}.part")

    @property
    def size(self) -> int:
        """Bytes there so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        """What the server called the version that the bytes so far are of."""
        return _read_version(self.path)

    @property
    def whole_version(self) -> str | None:
        """What the server called the version that the whole file, which is there, is of."""
        return _read_version(self._target)

    def open(self, *, go_on: bool, version: str | None) -> BinaryIO:
        """The file to write to: behind the bytes that are there, or anew as a `version` of its own."""
        if not go_on:
            self.discard()
            write_json(_version_file(self.path), {"version": version})
        return open(self.path, "ab")

    def discard(self) -> None:
        """Forget the bytes."""
        self.path.unlink(missing_ok=True)
        _version_file(self.path).unlink(missing_ok=True)

    def finish(self) -> None:
        """The bytes are the file: give them its name, in one step."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        _version_file(self._target).unlink(missing_ok=True)
        self.path.replace(self._target)
        if _version_file(self.path).exists():
            _version_file(self.path).replace(_version_file(self._target))


def _version_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_version(path: Path) -> str | None:
    try:
        version = json.loads(_version_file(path).read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None
