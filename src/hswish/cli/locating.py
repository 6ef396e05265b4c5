"""The model argument of every command: a path, a published name, `hf://...` or `https://...`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from hswish.cli.console import stderr

MODEL_HELP = "Model file, published name (`hswish models`), hf://OWNER/NAME or https://..."


def locate_model(model: str) -> Path:
    """The model's file, fetched with a bar (on a terminal) where it is not here yet.

    Raises:
        HswishError: see `hswish.hub.locate`.
    """
    from hswish.hub import locate

    if not sys.stderr.isatty():
        return locate(model, None)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with ExitStack() as stack:
        bar: Progress | None = None
        tasks = {}

        def draw(name: str, done: int, total: int | None) -> None:
            nonlocal bar
            if bar is None:  # made with the first bytes: most models are here already
                bar = stack.enter_context(Progress(*columns, console=stderr(), transient=True))
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        return locate(model, draw)
