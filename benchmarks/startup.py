"""How long a user waits before anything happens: fresh processes, ours beside the stack we stand on.

    python -m benchmarks.startup            # a table; about 70 seconds on 2 cores
    python -m benchmarks.startup --json     # one object: machine, versions, rows

Measured on 2 cores of an AMD EPYC, Linux 6.18, Python 3.11.7, torch 2.13.0+cpu, `--runs 5`:

                                median       min       max   ratio
    python -c pass                 12 ms     11 ms     17 ms
    import hswish                  24 ms     22 ms     34 ms
    import torch                 1526 ms   1358 ms   1693 ms   62.5x of import hswish
    import lightning_fabric      4507 ms   4471 ms   4757 ms   184.5x of import hswish
    hswish --help                 207 ms    199 ms    247 ms
    torchrun --help              1552 ms   1436 ms   1653 ms   7.5x of hswish --help

`import hswish` is quick because it puts work off: the first use of a network still pays for torch.

Every command is started `--runs` times in a fresh interpreter, the commands taking turns (so
that a busy moment falls on all of them alike); the first round warms the file cache and is
thrown away. `ratio` is the peer's median over that of the row of ours it names: above 1, ours
is faster. The bare interpreter is the floor that no Python program goes below.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
PACKAGES = ("hswish", "torch", "lightning-fabric", "typer", "numpy")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One command that is started again and again."""

    name: str
    command: tuple[str, ...]
    against: str | None = None
    """name of our row that it is compared with"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one command took; the fields of `--json`."""

    name: str
    median_ms: float
    min_ms: float
    max_ms: float
    runs: int
    against: str | None
    ratio: float | None
    """median over the median of `against`"""


def python(statement: str) -> tuple[str, ...]:
    return (sys.executable, "-c", statement)


CONTENDERS = (
    Contender(name="python -c pass", command=python("pass")),
    Contender(name="import hswish", command=python("import hswish")),
    Contender(name="import torch", command=python("import torch"), against="import hswish"),
    Contender(name="import lightning_fabric", command=python("import lightning_fabric"), against="import hswish"),
    Contender(name="hswish --help", command=(str(BIN / "hswish"), "--help")),
    # The launcher that a torch training script is started with.
    Contender(name="torchrun --help", command=(str(BIN / "torchrun"), "--help"), against="hswish --help"),
)


def measure(contenders: tuple[Contender, ...], runs: int) -> list[Row]:
    """Start each command `runs` times, in turns; every run must succeed."""
    taken_ms: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(runs + 1):
        for contender in contenders:
            start = time.perf_counter()
            subprocess.run(contender.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            if turn:  # the first round fills the file cache
                taken_ms[contender.name].append(1000 * (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in taken_ms.items()}
    return [
        Row(
            name=contender.name,
            median_ms=round(medians[contender.name], 1),
            min_ms=round(min(taken_ms[contender.name]), 1),
            max_ms=round(max(taken_ms[contender.name]), 1),
            runs=runs,
            against=contender.against,
            ratio=round(medians[contender.name] / medians[contender.against], 2) if contender.against else None,
        )
        for contender in contenders
    ]


def machine() -> dict[str, str | int]:
    """Where the figures hold."""
    cpu = platform.processor() or platform.machine()
    with_names = Path("/proc/cpuinfo")
    if with_names.exists():
        names = [line.split(":", 1)[1].strip() for line in with_names.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "system": f"{platform.system()} {platform.release()}"}


def versions() -> dict[str, str]:
    """Python and the packages that the rows depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def table(rows: list[Row]) -> str:
    """The rows for people, in milliseconds."""
    lines = [f"{'':26}{'median':>10}{'min':>10}{'max':>10}   ratio"]
    for row in rows:
        ratio = f"{row.ratio:.1f}x of {row.against}" if row.ratio else ""
        lines.append(
            f"{row.name:26}{row.median_ms:>7.0f} ms{row.min_ms:>7.0f} ms{row.max_ms:>7.0f} ms   {ratio}".rstrip()
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Start-up times of hswish and its peers.")
    parser.add_argument("--runs", type=int, default=9, help="timed starts of each command (default 9)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    contenders = tuple(contender for contender in CONTENDERS if Path(contender.command[0]).exists())
    rows = measure(contenders, options.runs)
    report = {"machine": machine(), "versions": versions(), "rows": [asdict(row) for row in rows]}
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['machine']}\n{report['versions']}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
