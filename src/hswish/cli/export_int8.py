"""What `hswish export --int8` prints: what 8 bits cost and give in each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hswish.cli.console import printable, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from hswish.export.int8_report import Int8Report

_AS_FAST = 0.98
"""Two hundredths are noise."""


def print_in_8_bits(reports: Sequence[Int8Report]) -> None:
    """One table of the files, and what there is to know of each."""
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    table = Table("file", "runtime", box=None)
    for column in (reports[0].metric, "float32", "points lost", "ms", "float32 ms", "times faster", "MB", "float32 MB"):
        table.add_column(column, justify="right")
    for report in reports:
        table.add_row(
            Text(printable(report.file)),
            report.runtime or "simulated",
            f"{report.score:.4f}",
            f"{report.float_score:.4f}",
            f"{100 * report.drop:.2f}",
            *("-" if value is None else f"{value:.2f}" for value in (report.time_ms, report.float_ms, report.speedup)),
            f"{report.bytes / 1e6:.2f}",
            f"{report.float_bytes / 1e6:.2f}" if report.float_bytes else "-",
        )
    console.print(table)
    for report in reports:
        for line in remarks(report):
            console.print(f"{report.format}: {line}", markup=False)
    for report in reports:
        if report.sensitivity:
            console.print(_sensitivity(report))


def _sensitivity(report: Int8Report) -> Table:
    from rich.table import Table

    table = Table(f"{report.format}: a layer rounded alone", box=None)
    table.add_column("change of the answer", justify="right")
    for row in report.sensitivity:
        table.add_row(row.layer, f"{row.error:.1e}")
    return table


def remarks(report: Int8Report) -> list[str]:
    """What a user should know of one file, in sentences."""
    from hswish.export.int8_report import ALLOWED

    lines = [
        f"calibrated on {report.calibration} pictures, measured on {report.pictures} of {report.split}; "
        f"the simulator foretold {report.simulated:.4f}"
    ]
    if report.metric == "top1" and report.pictures * ALLOWED < 1:
        lines.append(f"too few pictures to tell {100 * ALLOWED:.1f} points: one of them is {100 / report.pictures:.1f}")
    if report.kept:
        lines.append(f"left in float32, because rounding them costs most: {', '.join(report.kept)}")
    if report.operators:
        steps = ", ".join(f"{step.count} {step.kind} {step.dtype}".rstrip() for step in report.operators)
        lines.append(f"steps: {steps}")
    blamed = ", ".join(f"{step.count} {step.kind} {step.dtype}".rstrip() for step in report.blamed)
    blamed = blamed or ("not told by this runtime" if any(not step.dtype for step in report.operators) else "none")
    lines.append(f"outside the integer kernels: {blamed}")
    if report.speedup is not None and report.speedup < _AS_FAST:
        lines.append(f"8 bits are SLOWER than float32 here ({report.time_ms:.3g} against {report.float_ms:.3g} ms)")
    return lines
