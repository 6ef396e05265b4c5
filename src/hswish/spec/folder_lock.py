"""One process at a time at work in a folder: a lock that the system frees with its holder, however that one ends.

The package filelock would free it late: loading processes, forked later, inherit its descriptor and with it the
lock, and outlive a killed trainer by some seconds. Here a fork's child lets go of it at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from hswish.spec.errors import SaveError
from hswish.spec.files import explain_os_error

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where data are read all the same
    fcntl = None  # type: ignore[assignment]

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What some file systems, such as Lustre without its option flock, answer to any lock."""
_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextlib.contextmanager
def alone_in(folder: Path, lock: str, what: str) -> Iterator[None]:
    """Hold the lock file `lock` in an existing `folder`; it is removed at the end.

    A file that was left by a killed process hinders nobody. None is held where the system, or the file system, has
    no such locks.

    Args:
        what: what works in the folder, for the message, such as `hswish train`.

    Raises:
        SaveError: another process holds it; names the process. Or the folder is not writable.
    """
    path, owner = folder / lock, os.getpid()
    try:
        descriptor = _locked(path)
    except BlockingIOError as error:
        raise SaveError(
            f"{folder}: another {what}{_holder(path)} is at work in this folder; let it end, or stop it first"
        ) from error
    except OSError as error:
        raise SaveError(f"cannot lock {folder}: {explain_os_error(error)}") from error
    try:
        yield
    finally:
        if os.getpid() == owner:  # not in a child that was forked in between
            with contextlib.suppress(OSError):
                path.unlink()  # while it is locked, so that nobody else's is removed
            _held.discard(descriptor)
            os.close(descriptor)


def _locked(path: Path) -> int:
    """The descriptor of the locked file `path`, which then holds this process's number and host.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
            if _is_at(descriptor, path):  # else its holder has just removed it
                with contextlib.suppress(OSError):  # a full disk; the lock holds all the same
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
                _held.add(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Who holds the lock, as ` (process 123 on host)`; nothing where the file does not say."""
    with contextlib.suppress(OSError):
        found = re.fullmatch(r"(\d+) ([\w.-]+)", path.read_text(encoding="utf-8", errors="replace"))
        if found:
            return f" (process {found[1]} on {found[2]})"
    return ""


def _let_go() -> None:
    """In the child of a fork: close what the parent holds, which stays locked by it alone."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
