"""One contender in a process of its own: `python -m hswish.bench.worker MODEL ENGINE THREADS BATCH ANSWER`.

It opens the model, answers once (the cold start), then times runs whenever a line with their
number comes in. BATCH and ANSWER are `.npy` files. Each line that goes out is one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hswish.runtime import Engine, open_engine
from hswish.spec.errors import HswishError


def main(model: str, engine: str, threads: str, batch_file: str, answer_file: str) -> None:
    """Serve until standard input ends."""
    batch = np.load(batch_file)
    before = _peak_bytes()
    start = time.perf_counter()
    runner = open_engine(model, engine, int(threads))
    answer = runner.run(batch)
    cold_ms = 1000 * (time.perf_counter() - start)
    np.save(answer_file, answer)
    _say({"cold_ms": cold_ms})
    for line in sys.stdin:
        _say({"ms": _timed(runner, batch, answer, int(line)), "bytes": _peak_bytes() - before})


def _timed(runner: Engine, batch: Any, answer: Any, runs: int) -> list[float]:
    """Milliseconds of each run, whose answer must be the first one again."""
    spent = []
    for _ in range(runs):
        start = time.perf_counter()
        again = runner.run(batch)
        spent.append(1000 * (time.perf_counter() - start))
        if again.shape != answer.shape or not np.allclose(again, answer, rtol=1e-3, atol=1e-3):
            raise HswishError(f"{sys.argv[1]}: {sys.argv[2]} gave another answer when it was timed; do not trust it")
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
