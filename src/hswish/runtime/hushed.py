"""Keeping a runtime's own chatter off the terminal, also what its C++ writes past Python."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_LOCK = threading.RLock()
"""Two threads that put standard error aside would each give back what they found there."""


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Standard error of the whole process goes nowhere meanwhile, so keep it short; HSWISH_DEBUG shows it all.

    For a runtime that offers no other way: what is wrong it must say by exceptions as well.
    """
    if os.environ.get("HSWISH_DEBUG"):
        yield
        return
    with _LOCK, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed by the caller: nothing to hush
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            kept = os.dup(2)
            stack.callback(os.close, kept)
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            stack.callback(os.dup2, kept, 2)
            stack.callback(_flush)
        yield


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
