"""Every kernel of the native engine on every instruction set that this processor runs, on one thread.

    python -m benchmarks.native_kernels                                # all of them, some seconds
    python -m benchmarks.native_kernels --kernel pointwise block_rows
    python -m benchmarks.native_kernels --json

Measured: see the table in docs/native.md.

The kernels are those of the lists in native/kernels.h, masks.h and int8_kernels.h, which dispatch and tests read too;
one that has no row here fails tests/house/test_native_kernels_benchmark.py. Shapes are Large's at 224x224, and for
scores and masks LR-ASPP's. Instruction sets take turns; figures are medians. The calls go through Python's bindings,
which check and pack the weights anew: microseconds, which weigh in the smallest rows. `block_work` and `stem_work`
only say how much memory two kernels want.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.startup import machine
from hswish.runtime.native.library import library

NONE, RELU, H_SWISH = 0, 1, 2
"""activations as the kernels number them"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kernel and what it is given."""

    kernel: str
    """its name in the list"""
    precision: str
    shape: str
    multiply_adds: int | None
    """0: it moves or compares; None: a call returns how many"""
    run: Callable[[str], Any]
    """one call on the instruction set of this name"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kernel on one instruction set; the fields of `--json`."""

    kernel: str
    precision: str
    shape: str
    level: str
    us: float
    """median of microseconds"""
    gmacs: float | None
    """billions of multiply-adds a second"""


class _Draw:
    """Arrays of one seed."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def floats(self, *shape: int) -> NDArray[np.float32]:
        return self._rng.standard_normal(shape, np.float32)

    def halves(self, *shape: int) -> NDArray[np.uint16]:
        return (self.floats(*shape).view(np.uint32) >> 16).astype(np.uint16)

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        return self._rng.integers(0, 256, shape, np.uint8)

    def layer(self, *shape: int) -> tuple[Any, ...]:
        """8-bit weights, biases, scales; then how results become bytes: factor, zero, least."""
        weight, scale = self._rng.integers(-127, 128, shape).astype(np.int8), np.full(shape[0], 1e-5, np.float32)
        return weight, np.zeros(shape[0], np.int32), scale, 50.0, 0, 0


def _works_of(kernels: Any, precision: str) -> Callable[..., Work]:
    """`work(kernel, shape, multiply_adds, *what it is given after the level)`."""

    def work(kernel: str, shape: str, multiply_adds: int | None, *given: Any) -> Work:
        call = getattr(kernels, kernel)
        return Work(
            kernel=kernel,
            precision=precision,
            shape=shape,
            multiply_adds=multiply_adds,
            run=lambda level: call(level, *given),
        )

    return work


def map_kernels(kernels: Any, precision: str) -> list[Work]:
    """Those that both kinds of maps have: `MapKernels`. `kernels` are the bindings for one of them."""
    draw, work = _Draw(), _works_of(kernels, precision)
    drawn, pair = (draw.floats, 1) if precision == "float32" else (draw.halves, 2)
    expand, depthwise = (draw.floats(72, 24), draw.floats(72)), (draw.floats(72, 3, 3), draw.floats(72))
    stem, ones = (draw.floats(16, 3, 3, 3), draw.floats(16)), np.ones(120, np.float32)
    map_28 = drawn(28, 28, 120)
    return [
        work(
            "pointwise", "56x56, 72 to 24", 3136 * 72 * 24,
            drawn(3136, 72), draw.floats(24, 72), draw.floats(24), NONE, drawn(3136, 24), None,
        ),
        work(
            "block_rows", "56x56, 24 to 72, 3x3", 3136 * 72 * (24 + 9),
            drawn(56, 56, 24), *expand, *depthwise, RELU, RELU, 1, 1, False, 8, drawn(56, 56, 72), draw.floats(72),
        ),
        work(
            "stem_row", "224x224x3 to 112x112x16", 112 * 112 * 16 * 27,
            draw.floats(3, 224, 224), *stem, H_SWISH, 2, False, drawn(112, 112, 16),
        ),
        work("scale", "28x28x120", 0, map_28.reshape(784, 120), ones, RELU),
        work("scale_panel", "120 to 32", 0, drawn(120 // pair, 32, pair), drawn(120 // pair, 32, pair), ones),
        work("mean", "28x28x120", 0, map_28, 0, 0, 28, 28, draw.floats(120)),
        work("upsample_multiply_row", "1x1 to 28x28x120", 0, ones.reshape(1, 1, 120), False, map_28),
        work("multiply_adds", "in registers", None, 10_000),
    ]  # fmt: skip


def float_kernels(kernels: Any) -> list[Work]:
    """The list of native/kernels.h for float32: `Kernels`."""
    draw, work = _Draw(), _works_of(kernels, "float32")
    scores = draw.floats(28, 28, 24)
    return [
        *map_kernels(kernels, "float32"),
        work("h_sigmoid", "960", 0, draw.floats(960)),
        work("upsample_add_row", "14x14 to 28x28x24", 0, draw.floats(14, 14, 24), False, NONE, draw.floats(28, 28, 24)),
        work("upsample_planes_row", "28x28x19 to 224x224", 0, scores, False, draw.floats(19, 224, 224)),
        work("upsample_mask_row", "28x28x19 to 224x224", 0, scores, 19, False, draw.bytes(224, 224)),
    ]


def bf16_kernels(kernels: Any) -> list[Work]:
    """The list of native/kernels.h for halves: `Bf16Kernels`."""
    draw, work = _Draw(), _works_of(kernels.bf16, "bfloat16")
    weights = draw.floats(24, 72), draw.floats(24)
    return [
        *map_kernels(kernels.bf16, "bfloat16"),
        work(
            "pointwise_floats", "56x56, 72 to 24", 3136 * 72 * 24,
            draw.halves(3136, 72), *weights, NONE, draw.floats(3136, 24),
        ),
        work("linear", "16 x 72 to 24", 16 * 72 * 24, draw.floats(16, 72), *weights, NONE, draw.floats(16, 24)),
        work("to_halves", "56x56x24", 0, draw.floats(3136 * 24), draw.halves(3136 * 24)),
    ]  # fmt: skip


def int8_kernels(kernels: Any) -> list[Work]:
    """The list of native/int8_kernels.h: `Int8Kernels`."""
    draw, work = _Draw(), _works_of(kernels, "int8")
    map_28 = draw.bytes(784, 128)
    return [
        work(
            "pointwise_bytes", "56x56, 72 to 24", 3136 * 72 * 24,
            draw.bytes(3136, 80), draw.layer(24, 72), "none", draw.bytes(3136, 32), None,
        ),
        work(
            "pointwise_floats", "56x56, 72 to 24", 3136 * 72 * 24,
            draw.bytes(3136, 80), draw.layer(24, 72), "none", draw.floats(3136, 32),
        ),
        work(
            "int8_block_rows", "56x56, 24 to 72, 3x3", 3136 * 72 * (24 + 9),
            draw.bytes(56, 56, 32), draw.layer(72, 24), draw.layer(72, 3, 3), "relu", 1, 1, False, 0, 8,
            draw.bytes(56, 56, 80), np.zeros(80, np.int32),
        ),
        work(
            "int8_stem_row", "one row, 112x16", 112 * 16 * 27,
            draw.bytes(3, 225 * 3 + 16), draw.layer(16, 3, 3, 3), "hard_swish", 2, draw.bytes(112, 16),
        ),
        work(
            "gate_bytes", "28x28x128", 0,
            map_28, draw.floats(128), (0, 0.01, 50.0, 0), draw.bytes(784, 128),
        ),
        work("sum_bytes", "28x28x128", 0, map_28, np.zeros(128, np.int32)),
        work("to_bytes", "56x56x24", 0, draw.floats(3136 * 24), 50.0, 0, draw.bytes(3136 * 24)),
        work("look_up", "224x224x3", 0, draw.bytes(50176, 3), draw.bytes(3, 256), draw.bytes(50176, 3)),
    ]  # fmt: skip


def mask_kernels(kernels: Any) -> list[Work]:
    """The list of native/masks.h."""
    draw, work = _Draw(), _works_of(kernels, "float32")
    first = np.arange(640, dtype=np.int32) * 3 // 4
    return [
        work(
            "widen", "480 to 640", 0,
            draw.floats(480), first, np.minimum(first + 1, 479), draw.floats(640), draw.floats(640),
        ),
        work("highest", "11 x 640", 0, draw.floats(11, 640), draw.floats(11, 640), 0.25, np.zeros(640, np.uint8)),
    ]  # fmt: skip


def works(engine: ModuleType) -> list[tuple[Work, list[str]]]:
    """Every kernel, with the instruction sets that bring one of their own here."""
    lists = {name: engine.kernel_lists(name) for name, runs_here in engine.levels() if runs_here}

    def own(kind: int) -> list[str]:  # the first that has each list
        names = {lists[name][kind]: name for name in reversed(lists) if lists[name][kind]}
        return sorted(names.values(), key=list(lists).index)

    return [
        (work, own(kind))
        for kind, of_precision in ((0, float_kernels), (0, mask_kernels), (1, int8_kernels), (2, bf16_kernels))
        for work in of_precision(engine.kernels)
        if own(kind)
    ]


def measure(work: Work, levels: Sequence[str], runs: int) -> list[Row]:
    """Time one kernel on `levels` in turns; a turn is as many calls as take about a millisecond."""
    taken_us: dict[str, list[float]] = {level: [] for level in levels}
    calls, counted = dict.fromkeys(levels, 1), dict.fromkeys(levels, work.multiply_adds)
    for turn in range(runs + 2):
        for level in levels:
            start = time.perf_counter()
            for _ in range(calls[level]):
                returned = work.run(level)
            elapsed_us = 1e6 * (time.perf_counter() - start) / calls[level]
            if turn < 2:
                calls[level] = max(1, round(1000 / elapsed_us))
                counted[level] = returned if work.multiply_adds is None else work.multiply_adds
            else:
                taken_us[level].append(elapsed_us)
    rows = []
    for level in levels:
        us, multiply_adds = statistics.median(taken_us[level]), counted[level]
        rows.append(
            Row(
                kernel=work.kernel,
                precision=work.precision,
                shape=work.shape,
                level=level,
                us=round(us, 2),
                gmacs=round(multiply_adds / us / 1000, 2) if multiply_adds else None,
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """A line for each kernel: microseconds on each instruction set, and billions of multiply-adds a second."""
    known = [name for name, _ in library("a benchmark").levels()]
    levels = sorted({row.level for row in rows}, key=known.index)
    lines = [f"{'us (G multiply-adds a second)':56}" + "".join(f"{level:>17}" for level in levels)]
    kernels = list(dict.fromkeys((row.kernel, row.precision, row.shape) for row in rows))
    for kernel in kernels:
        line = f"{kernel[0]:22}{kernel[1]:>9} {kernel[2]:24}"
        for level in levels:
            found = [row for row in rows if (row.kernel, row.precision, row.shape, row.level) == (*kernel, level)]
            cell = "".join(f"{row.us:.1f}" + (f" ({row.gmacs:.0f})" if row.gmacs else "") for row in found)
            line += f"{cell:>17}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    engine = library("a benchmark")
    known = works(engine)
    parser = argparse.ArgumentParser(description="The native engine's kernels on each instruction set.")
    parser.add_argument("--kernel", nargs="+", choices=sorted({work.kernel for work, _ in known}), help="only these")
    parser.add_argument("--runs", type=int, default=15, help="turns of each instruction set")
    parser.add_argument("--json", action="store_true", help="print the rows as a JSON list")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    chosen = [item for item in known if options.kernel is None or item[0].kernel in options.kernel]
    rows = [row for work, levels in chosen for row in measure(work, levels, options.runs)]
    print(json.dumps([asdict(row) for row in rows], indent=2) if options.json else f"{machine()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
