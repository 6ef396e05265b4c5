"""A contender's process, and how several of them take turns."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hswish.spec.errors import HswishError

_ROUNDS = 10
_WARM_UP = 5
_REST_S = 0.02
"""After a turn: some runtimes' threads go on spinning for milliseconds, at the next contender's cost."""


@dataclass(kw_only=True)
class Timed:
    """A process that answers once and then times runs when it is told to; see `hswish.bench.worker`."""

    title: str
    """what errors call it"""
    command: Sequence[str]
    answer: Path
    """`.npy` file that it writes its answer to"""
    threads: int
    packages: Sequence[str] = ()
    """folders that modules are looked for in; those of this process by default"""
    cold_ms: float = field(init=False, default=0.0)
    """from loading the library to the first answer"""
    memory_bytes: int = field(init=False, default=0)
    """what the process grew by at most"""
    spent_ms: list[float] = field(init=False, default_factory=list)
    """of every timed run"""

    def __enter__(self) -> Timed:
        settings = {
            "OMP_NUM_THREADS": str(self.threads),
            "PYTHONPATH": os.pathsep.join(self.packages or sys.path),
        }
        self._words = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            env={**os.environ, **settings},
        )
        try:
            self.cold_ms = float(self._hear()["cold_ms"])
        except HswishError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._words.close()

    def run(self, count: int) -> list[float]:
        """Milliseconds of `count` runs."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is said below
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
        heard = self._hear()
        self.memory_bytes = int(heard["bytes"])
        return list(heard["ms"])

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # engines print words of their own
                heard: dict[str, Any] = json.loads(line)
                if "error" in heard:
                    raise HswishError(heard["error"])
                return heard
        status = self._process.wait()
        self._words.seek(0)
        last = self._words.read().decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise HswishError(f"{self.title} ended with status {status} while it was timed{f' ({last})' if last else ''}")


def take_turns(found: Sequence[Timed], runs: int, progress: Callable[[int, int], object] | None = None) -> None:
    """Start every process, warm it up, and let each time a few runs in turn, so that a busy moment falls on all.

    Args:
        runs: timed runs of each, at least.
        progress: called with (rounds done, rounds in all).

    Raises:
        HswishError: one of them failed, or answered differently while it was timed.
    """
    share = max(1, -(-runs // _ROUNDS))
    rounds = -(-runs // share)
    with ExitStack() as stack:
        for process in found:
            stack.enter_context(process)
        for process in found:
            process.run(_WARM_UP)
        for done in range(rounds):
            for process in found:
                process.spent_ms += process.run(share)
                time.sleep(_REST_S)
            if progress is not None:
                progress(done + 1, rounds)
