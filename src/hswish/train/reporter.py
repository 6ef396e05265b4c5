"""What a run says while it runs; the command line draws it, Python code may ignore it."""

from __future__ import annotations

from typing import Any


class Reporter:
    """Receives the events of a run; this one stays silent."""

    def note(self, text: str) -> None:
        """Something worth a line: the split made, a file skipped, the model chosen."""

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Epoch `epoch` (from 1) begins; `done` of its `steps` were run before an interruption."""

    def step(self, pictures: int, loss: float, lr: float) -> None:
        """One step over `pictures` pictures is done."""

    def validated(self, done: int, total: int) -> None:
        """`done` of `total` validation pictures are measured."""

    def end_epoch(self, row: dict[str, Any]) -> None:
        """The epoch's line of `metrics.jsonl`."""
