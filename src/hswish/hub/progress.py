"""How a download tells how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""`progress(name, done, total)`: bytes of the file `name`; `total` is None where the server does not say."""


def on_terminal(name: str, done: int, total: int | None) -> None:
    """Rewrites one line of standard error, where that is a terminal; silent elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    share = f" of {total / 1e6:.1f} MB ({done / total:.0%})" if total else " MB"
    sys.stderr.write(f"\r{name}: {done / 1e6:.1f}{share}" + ("\n" if done == total else ""))
    sys.stderr.flush()
