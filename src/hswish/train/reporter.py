"""What a run says while it runs; the command line draws it, Python code may ignore it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Reporter:
    """Receives the events of a run; this one stays silent."""

    def start_run(self, run: Path) -> None:
        """The run in the folder `run` begins, or goes on."""

    def note(self, text: str) -> None:
        """Something worth a line: the split made, a file skipped, the model chosen."""

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Epoch `epoch` (from 1) begins; `done` of its `steps` were run before an interruption."""

    def step(self, pictures: int, loss: float, lr: float) -> None:
        """One step over `pictures` pictures is done."""

    def validated(self, done: int, total: int) -> None:
        """`done` of `total` validation pictures are measured."""

    def end_epoch(self, row: dict[str, Any]) -> None:
        """The epoch's line of `metrics.jsonl`; without `loss` where no step of it could be made."""

    def drawn(self, epoch: int, picture: Path) -> None:
        """A page of predictions was drawn after `epoch`."""

    def end_run(self) -> None:
        """The run is over, or was interrupted."""


class Reporters(Reporter):
    """Passes every event on to several reporters, in their order."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def start_run(self, run: Path) -> None:
        for reporter in self._reporters:
            reporter.start_run(run)

    def note(self, text: str) -> None:
        for reporter in self._reporters:
            reporter.note(text)

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        for reporter in self._reporters:
            reporter.start_epoch(epoch, epochs, steps, done)

    def step(self, pictures: int, loss: float, lr: float) -> None:
        for reporter in self._reporters:
            reporter.step(pictures, loss, lr)

    def validated(self, done: int, total: int) -> None:
        for reporter in self._reporters:
            reporter.validated(done, total)

    def end_epoch(self, row: dict[str, Any]) -> None:
        for reporter in self._reporters:
            reporter.end_epoch(row)

    def drawn(self, epoch: int, picture: Path) -> None:
        for reporter in self._reporters:
            reporter.drawn(epoch, picture)

    def end_run(self) -> None:
        for reporter in self._reporters:
            reporter.end_run()
