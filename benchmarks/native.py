"""The native engine beside every other CPU runtime: one picture at a time, in float32, bfloat16 and 8 bits.

    python -m benchmarks.native                      # tables; some minutes with all peers
    python -m benchmarks.native --precision int8     # one of them
    python -m benchmarks.native --threads 2 --json   # one list of rows
    python -m benchmarks.native --layers large-224   # where the time goes, step by step
    python -m benchmarks.native --plot native.png

Measured: see the table in docs/native.md, with machine and versions.

Engine and peers take turns in one process, so that a busy moment falls on all alike; the first turns are thrown away.
With several threads it is a process for each peer and the engine, and a turn is a tenth of a second of calls that are
not timed, then some that are: threads that have nothing to do spin in some runtimes (ONNX Runtime's for 57 ms here),
and whoever comes next has one processor less. The row then has the lowest ratio of the pairs. `ratio`
is the best peer's median over ours: above 1, ours is faster. Every timed call's answer is compared with torch's float32
network; an answer that is off ends the benchmark (in other precisions: one that is not much alike; ours in 8 bits is
held to the integer reference bit by bit in tests/runtime/native). Peers that are not installed are named and left out:
see benchmarks/native_peers.py and, for what quantises them, benchmarks/native_int8_peers.py. Beside the engine in
bfloat16 peers run in bfloat16 if they can, else in float32 (benchmarks/native_bf16_peers.py).

The hardware limit is measured too: a loop of multiply-adds that touch nothing but registers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.native_bf16_peers import BF16_PEERS
from benchmarks.native_int8_peers import INT8_PEERS, likeness, pictures
from benchmarks.native_peers import PEERS, AbsentError, Case, Floats, Run, open_peer
from benchmarks.startup import machine
from hswish.export.trace import trace
from hswish.models import DescribedModule, create_model, save
from hswish.quantize import quantize
from hswish.runtime.native import NativeEngine
from hswish.runtime.native.library import choose_level, library
from hswish.spec.budget import LayerCost, layer_costs
from hswish.spec.interface import Interface
from hswish.spec.quantized_file import SUFFIX, write_quantized

CASES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "large-224": ("mobilenet_v3_large", {}, 224, 224),
    "small-224": ("mobilenet_v3_small", {}, 224, 224),
    "lraspp-large-512x1024": ("lraspp_mobilenet_v3_large", {"head": "torchvision", "num_classes": 19}, 512, 1024),
}
TOLERANCE = 1e-3
"""of the largest logit: other runtimes round in another order, and some multiply with another algorithm"""
ALIKE = {"int8": 0.9, "bfloat16": 0.995}
"""least correlation of an answer with the float32 network's; random weights bear rounding worse than trained ones"""
SETTLING, CALLS = 0.1, 5
"""with several threads, a turn's seconds before calls are timed, and the calls that are"""
PRECISIONS = {"float32": PEERS, "bfloat16": BF16_PEERS, "int8": INT8_PEERS}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case; the fields of `--json`."""

    case: str
    precision: str
    threads: int
    engine_ms: float
    """median"""
    best_peer: str | None
    best_peer_ms: float | None
    ratio: float | None
    """best_peer_ms / engine_ms"""
    peers_ms: dict[str, float]
    """median of every peer that is installed"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the engine's plan."""

    name: str
    ms: float
    gflops: float
    """billions of floating-point operations a second, a multiply-add being two"""
    share: float
    """of the hardware limit on one thread"""
    megabytes: float
    """weights, and what is written for later steps"""


def settled(name: str, options: dict[str, Any]) -> DescribedModule:
    """A network with random weights whose batch statistics fit them, as after training."""
    torch.manual_seed(0)
    model = create_model(name, **options)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 96, 96))
    assert isinstance(model, DescribedModule)
    return model.eval()


def prepared(name: str) -> Case:
    """The network of a case."""
    model, options, height, width = CASES[name]
    return Case(name=name, model=settled(model, options), height=height, width=width)


def native(case: Case, folder: Path, threads: int, precision: str = "float32") -> tuple[NativeEngine, Run]:
    """The engine, opened from a file as a user would."""
    path = folder / f"{case.name}{SUFFIX if precision == 'int8' else '.safetensors'}"
    if precision != "int8":
        save(case.model, path)
    elif not path.exists():
        net = quantize(trace(case.model, (case.height, case.width)), pictures(case))
        write_quantized(path, net, case.model.description, Interface(precision="int8"))
    engine = NativeEngine(path, threads, "bfloat16" if precision == "bfloat16" else None)
    return engine, engine.run


def contenders_of(case: Case, peers: Sequence[str], folder: Path, threads: int, precision: str) -> dict[str, Run]:
    """The engine and those of `peers` that are here and know the precision."""
    found: dict[str, Run] = {"native": native(case, folder, threads, precision)[1]}
    for name in peers:
        if name not in PRECISIONS[precision]:
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the tools talk; the standard output is for our rows
                found[name] = open_peer(name, case, folder, threads, PRECISIONS[precision])
        except AbsentError as error:
            print(f"{case.name}, {precision}: without {name}: {error}", file=sys.stderr)
    return found


def measure(case: Case, peers: Sequence[str], folder: Path, threads: int, runs: int, precision: str = "float32") -> Row:
    """Time the engine and `peers` in turns: of one call each, with several threads of several."""
    x = case.picture()
    with torch.inference_mode():
        wanted = case.model(torch.from_numpy(x)).numpy()
    contenders = contenders_of(case, peers, folder, threads, precision)
    taken_ms: dict[str, list[float]] = {name: [] for name in contenders}
    calls, settling = (CALLS, SETTLING) if threads > 1 else (1, 0.0)
    for turn in range(math.ceil(runs / calls) + 3):
        for name, run in contenders.items():
            begun = time.perf_counter()
            while time.perf_counter() < begun + settling:
                run(x)
            for _ in range(calls):
                start = time.perf_counter()
                answer = run(x)
                elapsed_ms = 1000 * (time.perf_counter() - start)
                check(f"{case.name}, {name}", answer, wanted, precision)
                if turn >= 3:
                    taken_ms[name].append(elapsed_ms)
    medians = {name: round(statistics.median(values), 3) for name, values in taken_ms.items()}
    ours = medians.pop("native")
    best = min(medians, key=lambda name: medians[name]) if medians else None
    return Row(
        case=case.name,
        precision=precision,
        threads=threads,
        engine_ms=ours,
        best_peer=best,
        best_peer_ms=medians[best] if best else None,
        ratio=round(medians[best] / ours, 3) if best else None,
        peers_ms=medians,
    )


def measure_in_pairs(case: str, peers: Sequence[str], folder: Path, threads: int, runs: int, precision: str) -> Row:
    """`measure`, in a process for each peer; the engine's time is that beside the peer which comes closest to it."""
    command = [sys.executable, "-m", "benchmarks.native", "--json", "--threads", str(threads), "--runs", str(runs)]
    command += ["--case", case, "--precision", precision, "--models", str(folder), "--peer"]
    rows = []
    for names in [[peer] for peer in peers] or [[]]:
        done = subprocess.run([*command, *names], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{case}, {precision}: timing {' '.join(names) or 'the engine'} failed")
        rows += [Row(**row) for row in json.loads(done.stdout)]
    closest = min(rows, key=lambda row: row.ratio or float("inf"))
    return replace(closest, peers_ms={name: ms for row in rows for name, ms in row.peers_ms.items()})


def check(who: str, answer: Floats, wanted: Floats, precision: str = "float32") -> None:
    """A fast answer that is wrong is no answer."""
    answer = np.asarray(answer).reshape(wanted.shape)
    if precision in ALIKE:
        if not likeness(answer, wanted) > ALIKE[precision]:
            raise SystemExit(f"{who}: its answer is like the network's by {likeness(answer, wanted):.3f} only")
        return
    error = float(np.abs(answer - wanted).max() / np.abs(wanted).max())
    if not error < TOLERANCE:
        raise SystemExit(f"{who}: its answer is off by {error:.1e} of the largest logit")


def computable(precisions: Sequence[str]) -> list[str]:
    """Those of `precisions` that the engine computes in on this processor; the others are named."""
    engine = library("a benchmark")
    level = choose_level(engine)
    found = [name for name in precisions if name != "bfloat16" or engine.multiplies_halves(level)]
    if len(found) < len(precisions):
        print(f"without bfloat16: {level} does not multiply it here", file=sys.stderr)
    return found


def hardware_limit(level: str) -> float:
    """Billions of multiply-adds a second on one thread, registers only; the best of several tries."""
    kernels, best = library("a benchmark").kernels, 0.0
    for _ in range(9):
        start = time.perf_counter()
        count = kernels.multiply_adds(level, 300_000)
        best = max(best, count / (time.perf_counter() - start) / 1e9)
    return best


def steps(case: Case, folder: Path, runs: int) -> list[Step]:
    """The engine's own time, step by step, on one thread."""
    engine, run = native(case, folder, 1)
    x = case.picture()
    out, limit = run(x), hardware_limit(engine.level)
    assert isinstance(case.model, DescribedModule)
    costs = layer_costs(case.model.architecture, case.height, case.width)
    taken: dict[str, list[LayerCost]] = {name: [] for name in engine.steps}
    step = engine.steps[0]
    for cost in costs:  # a layer without a step of its own is part of the step before, or of the first
        step = next((name for name in engine.steps if cost.name == name or cost.name.startswith(f"{name}.")), step)
        taken[step].append(cost)
    rows = []
    for name, (_, ms) in zip(
        engine.steps, engine.plan(case.height, case.width).profile(x, out, None, runs), strict=True
    ):
        layers = taken[name]
        work = sum(cost.multiply_adds for cost in layers)
        written = int(np.prod(layers[-1].output)) if layers else 0
        rows.append(
            Step(
                name=name,
                ms=round(ms, 4),
                gflops=round(2 * work / ms / 1e6, 1),
                share=round(work / ms / 1e6 / limit, 3),
                megabytes=round(4 * (sum(cost.parameters for cost in layers) + written) / 1e6, 3),
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    names = sorted({name for row in rows for name in row.peers_ms})
    lines = [f"{'ms':32}{'threads':>8}{'native':>10}" + "".join(f"{name:>13}" for name in names) + "   ratio"]
    for row in rows:
        times = "".join(f"{row.peers_ms[name]:>13.2f}" if name in row.peers_ms else f"{'':13}" for name in names)
        ratio = f"{row.ratio:.2f}" if row.ratio else "-"
        lines.append(f"{row.case:22}{row.precision:>10}{row.threads:>8}{row.engine_ms:>10.2f}{times}{ratio:>8}")
    return "\n".join(lines)


def step_table(rows: Sequence[Step]) -> str:
    """The steps for people."""
    lines = [f"{'step':24}{'ms':>9}{'GFLOP/s':>10}{'of limit':>10}{'MB':>9}"]
    lines += [f"{row.name:24}{row.ms:>9.3f}{row.gflops:>10.1f}{row.share:>10.0%}{row.megabytes:>9.2f}" for row in rows]
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of each case, ours first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4 * len(rows), 3.2), squeeze=False, layout="constrained")
    for axis, row in zip(axes[0], rows, strict=True):
        times = {"native": row.engine_ms, **dict(sorted(row.peers_ms.items(), key=lambda item: item[1]))}
        axis.bar(list(times), list(times.values()), color=["tab:blue"] + ["tab:gray"] * len(row.peers_ms))
        axis.set_title(f"{row.case}, {row.precision}, {row.threads} thread{'s' if row.threads > 1 else ''}")
        axis.set_ylabel("ms")
        axis.tick_params(axis="x", rotation=30)
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="The native engine beside other CPU runtimes.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=60, help="timed calls of each contender")
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--precision", nargs="+", choices=tuple(PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--peer", nargs="*", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--models", type=Path, help="folder of the peers' files, to keep them")
    parser.add_argument("--json", action="store_true", help="print the rows as a JSON list")
    parser.add_argument("--layers", choices=tuple(CASES), help="print the engine's steps of one case instead")
    parser.add_argument("--plot", type=Path, help="draw the rows into this picture")
    options = parser.parse_args()
    if options.threads < 1 or options.runs < 1:
        parser.error("--threads and --runs must be 1 or more")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.layers:
            found = steps(prepared(options.layers), folder, options.runs)
            print(json.dumps([asdict(row) for row in found], indent=2) if options.json else step_table(found))
            return
        precisions = computable(options.precision)
        if options.threads > 1 and len(options.peer) > 1:
            rows = [
                measure_in_pairs(case, options.peer, folder, options.threads, options.runs, precision)
                for case in options.case
                for precision in precisions
            ]
        else:
            rows = [
                measure(case, options.peer, folder, options.threads, options.runs, precision)
                for case in map(prepared, options.case)
                for precision in precisions
            ]
    if options.plot:
        plot(rows, options.plot)
    print(json.dumps([asdict(row) for row in rows], indent=2) if options.json else f"{machine()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
