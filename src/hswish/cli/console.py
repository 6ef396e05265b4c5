"""What goes to the terminal: results on standard output, everything else on standard error.

Colours and moving bars appear only on terminals (and never with NO_COLOR); elsewhere
progress is plain lines.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, lone surrogates, line and paragraph separators."""


def stdout() -> Console:
    """Console for results."""
    from rich.console import Console

    class Results(Console):
        def on_broken_pipe(self) -> None:  # rich itself would end the process
            raise BrokenPipeError

    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Results(highlight=False, soft_wrap=True, width=width, emoji=False)


def stderr() -> Console:
    """Console for progress and messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def printable(text: str) -> str:
    """`text` on one line, with control characters (and bytes that are no text) written as escapes.

    The name of a file may hold anything: a line break, or codes that a terminal obeys.

    >>> printable("a\nb.jpg")
    'a\\\\nb.jpg'
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNPRINTABLE else char for char in text
    )


def print_line(text: str) -> None:
    """One line of results on standard output, as it is: no markup, never wrapped."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """`error: message` on standard error, in one line."""
    from rich.markup import escape

    stderr().print(f"[bold red]error:[/] {escape(printable(message))}")


def speaks() -> bool:
    """Whether this process prints results: of those that torchrun started, the first one does."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def print_warning(message: str) -> None:
    """`warning: message` on standard error, in one line."""
    from rich.markup import escape

    stderr().print(f"[yellow]warning:[/] {escape(printable(message))}")


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document on standard output; what JSON has no number for is null."""
    sys.stdout.write(json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_note(message: str) -> None:
    """A plain line on standard error."""
    stderr().print(printable(message), markup=False)


def progress_bar(unit: str, *extra: str) -> Progress:
    """A bar with count, throughput and time left; `extra` names further fields to show."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = [TextColumn("{task.fields[" + name + "]}") for name in extra]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *shown,
        TextColumn("{task.fields[rate]} " + unit + "/s"),
        TimeRemainingColumn(),
        console=stderr(),
        transient=True,
    )


class Throughput:
    """Things a second since it was made, and what time that leaves."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._count = 0

    def add(self, count: int) -> str:
        """Count `count` more and return the rate as text."""
        self._count += count
        return f"{self.rate:.1f}"

    @property
    def rate(self) -> float:
        """Things a second."""
        return self._count / max(time.monotonic() - self._began, 1e-6)

    def time_left(self, done: int, total: int | None) -> str:
        """`, 2:05 left` of `total` things; nothing where nobody knows how many there are."""
        if not total or not self._count:
            return ""
        minutes, seconds = divmod(round(max(0, total - done) / self.rate), 60)
        return f", {minutes}:{seconds:02d} left"


@contextmanager
def counting(description: str, unit: str) -> Iterator[Any]:
    """Yields `update(done, total)`, drawn as a bar on a terminal, as a line every 10 s elsewhere."""
    if sys.stderr.isatty():
        with progress_bar(unit) as bar:
            task = bar.add_task(description, total=None, rate="")
            rate, last = Throughput(), 0

            def draw(done: int, total: int | None) -> None:
                nonlocal last
                bar.update(task, completed=done, total=total, rate=rate.add(done - last))
                last = done

            yield draw
        return
    rate, said, last = Throughput(), time.monotonic(), 0

    def say(done: int, total: int | None) -> None:
        nonlocal said, last
        speed = rate.add(done - last)
        last = done
        if time.monotonic() - said > 10:
            said = time.monotonic()
            of, left = f" of {total}" if total else "", rate.time_left(done, total)
            print_note(f"{description}: {done}{of} {unit}, {speed} {unit}/s{left}")

    yield say
