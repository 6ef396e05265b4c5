"""Which shards have the bytes that the index speaks of: each is hashed once a run, when it is first opened.

What a process has hashed, those that it forks know and the other way round: the notes lie in memory that
a fork shares. So loading processes, of which each comes to every shard, hash none twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator

from hswish.data.splits import stable_hash

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NOTE = struct.Struct("Q")


class Verified:
    """Notes on so many shards, by number. Safe to use from threads and after a fork."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._notes = mmap.mmap(-1, _NOTE.size * max(1, count))  # of nobody's file, and shared

    def fits(self, number: int, descriptor: int, sha256: str) -> bool:
        """Whether the open file has these bytes; hashed unless it was, while others that ask for it wait."""
        with _alone(descriptor):
            if self._note(number) == _state(descriptor):
                return True
            state = _state(descriptor)
            with open(descriptor, "rb", closefd=False) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found == sha256:
                self._notes[self._place(number)] = _NOTE.pack(state)
            return found == sha256

    def note(self, number: int, descriptor: int) -> None:
        """Somebody else has just verified the open file."""
        self._notes[self._place(number)] = _NOTE.pack(_state(descriptor))

    def _note(self, number: int) -> int:
        noted: int = _NOTE.unpack(self._notes[self._place(number)])[0]
        return noted

    @staticmethod
    def _place(number: int) -> slice:
        return slice(number * _NOTE.size, (number + 1) * _NOTE.size)

    def __reduce__(self) -> tuple[type[Verified], tuple[int]]:
        return type(self), (self._count,)  # another process that was not forked begins anew


def _state(descriptor: int) -> int:
    """A number that is another once the file is replaced or written to."""
    status = os.fstat(descriptor)
    return stable_hash(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextlib.contextmanager
def _alone(descriptor: int) -> Iterator[None]:
    """Hold the system's lock of the open file, where there is such a thing; without it a shard may be hashed twice."""
    locked = False
    with contextlib.suppress(OSError):  # network file systems may have none
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
    try:
        yield
    finally:
        if locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
