"""One contender in a process of its own: `python -m hswish.bench.worker MODEL ENGINE THREADS BATCH ANSWER [PRECISION]`.

It opens the model, answers once (the cold start), then times runs whenever a line with their
number comes in. BATCH and ANSWER are `.npy` files. Each line that goes out is one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hswish.runtime import open_engine, run_lent
from hswish.spec.errors import HswishError


def main(
    model: str, engine: str, threads: str, batch_file: str, answer_file: str, precision: str | None = None
) -> None:
    """Serve until standard input ends."""
    serve(
        lambda: partial(run_lent, open_engine(model, engine, int(threads), precision)),
        f"{model}: {engine}",
        batch_file,
        answer_file,
    )


def serve(open_run: Callable[[], Callable[[Any], Any]], title: str, batch_file: str, answer_file: str) -> None:
    """Answer once, then time runs until standard input ends.

    Args:
        open_run: opens the model, and gives what answers a batch.
        title: what an error calls it.
    """
    batch = np.load(batch_file)
    before = _peak_bytes()
    start = time.perf_counter()
    run = open_run()
    answer = np.array(run(batch))  # the next run may overwrite what it was given
    cold_ms = 1000 * (time.perf_counter() - start)
    np.save(answer_file, answer)
    _say({"cold_ms": cold_ms})
    for line in sys.stdin:
        spent = _timed(run, batch, answer, int(line), title)
        _say({"ms": spent, "bytes": _peak_bytes() - before})


def _timed(run: Callable[[Any], Any], batch: Any, answer: Any, runs: int, title: str) -> list[float]:
    """Milliseconds of each run, whose answer must be the first one again."""
    run(batch)  # after the others' turns, the caches are theirs
    spent = []
    for _ in range(runs):
        start = time.perf_counter()
        again = run(batch)
        spent.append(1000 * (time.perf_counter() - start))
        if again.shape != answer.shape or not np.allclose(again, answer, rtol=1e-3, atol=1e-3):
            raise HswishError(f"{title} gave another answer when it was timed; do not trust it")
    return spent


def _peak_bytes() -> int:
    """Most memory this process has had; 0 on systems that do not tell."""
    try:  # getrusage would count what the parent had when it made this process
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return 0


def _say(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HswishError as error:
        _say({"error": str(error)})
    except MemoryError:
        _say({"error": f"{Path(sys.argv[1]).name}: does not fit into memory"})
