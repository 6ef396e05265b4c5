"""A run's events as progress bars on a terminal, as one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.progress import Progress, TaskID

from hswish.cli.console import Throughput, print_note, printable, progress_bar
from hswish.train.reporter import Reporter

_LINE_SECONDS = 30.0


class TrainingProgress(Reporter):
    """Draws a run; use it as a context so that the bar is gone when the run is."""

    def __init__(self) -> None:
        self._bar: Progress | None = progress_bar("pictures", "figures") if sys.stderr.isatty() else None
        self._task: TaskID | None = None
        self._rate = Throughput()
        self._title = ""
        self._steps = self._done = 0
        self._said = self._began = time.monotonic()
        self._epochs = 0
        self._start = 0.0
        self._ends: float | None = None

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        print_note(text) if self._bar is None else self._bar.console.print(printable(text), markup=False)

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        if not self._epochs:
            self._start, self._began = epoch - 1 + done / steps, time.monotonic()
        self._epochs, self._steps, self._done = epochs, steps, done
        self._title = f"epoch {epoch}/{epochs}"
        self._rate, self._said = Throughput(), time.monotonic()
        self._new_task(self._title, steps, done)

    def step(self, pictures: int, loss: float, lr: float) -> None:
        self._done += 1
        rate = self._rate.add(pictures)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, rate=rate, figures=f"loss {loss:.3f}  lr {lr:.2g}{self._left()}")
        elif time.monotonic() - self._said > _LINE_SECONDS:
            self._said = time.monotonic()
            print_note(
                f"{self._title}  step {self._done}/{self._steps}  loss {loss:.4f}  lr {lr:.2g}  {rate} pictures/s"
                f"{self._left()}"
            )

    def validated(self, done: int, total: int) -> None:
        if self._bar is None:
            return
        title = f"{self._title} val"
        if self._task is None or self._bar.tasks[-1].description != title:
            self._rate, self._done = Throughput(), 0
            self._new_task(title, total, 0)
        assert self._task is not None
        self._bar.update(self._task, completed=done, rate=self._rate.add(done - self._done), figures="")
        self._done = done

    def end_epoch(self, row: dict[str, Any]) -> None:
        shown = ("loss", "top1", "top5", "miou", "pixel_accuracy")  # the last four where it ends with a validation
        figures = [f"{key} {value:.4f}" for key, value in row.items() if key in shown]
        said = [f"epoch {row['epoch']}/{self._epochs}", *figures, f"{row['pictures_per_second']:.0f} pictures/s"]
        ran = row["epoch"] - self._start  # epochs; the first may have been begun by another process
        if ran * self._steps >= 1:  # or learnt to its end
            left = (time.monotonic() - self._began) / ran * (self._epochs - row["epoch"])
            self._ends = time.monotonic() + left
            said.append(f"{duration(left)} left")
        self.note("  ".join(said))

    def _left(self) -> str:
        """The time left to the end of the run; nothing before an epoch has been measured."""
        return "" if self._ends is None else f"  run {duration(max(0.0, self._ends - time.monotonic()))} left"

    def _new_task(self, title: str, total: int, done: int) -> None:
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=total, completed=done, rate="", figures="")


def duration(seconds: float) -> str:
    """Seconds as 1:02:03, or 2:03 below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
