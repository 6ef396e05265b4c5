"""Ctrl-C and SIGTERM as a request: the running step is finished and saved first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from hswish.spec.errors import HswishError


class Interrupted(HswishError):  # noqa: N818 - a stop that was asked for, not a fault
    """The run was stopped on request; the message says how to go on."""


class StopRequest:
    """Context in which Ctrl-C or SIGTERM only sets `asked`; a second Ctrl-C stops at once.

    A second SIGTERM does not: a batch system and torchrun may both send one.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # signals belong to it
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
