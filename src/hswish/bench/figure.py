"""The picture of a benchmark: accuracy over latency, one dot a contender, numbered as in the list beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hswish.bench.measure import Row
from hswish.evaluate.figures import check_drawing
from hswish.spec.errors import OptionError
from hswish.spec.files import write_aside

_LINE = 0.22
"""inches that a line of the list takes"""


def latency_accuracy(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG; times are on a logarithmic axis.

    Raises:
        OptionError: no accuracy was measured.
        MissingPackageError: matplotlib is not installed.
        SaveError: the disk is full or the folder not writable.
    """
    measured = [row for row in rows if row.accuracy is not None]
    if not measured:
        raise OptionError("the picture shows accuracy over time: give --data")
    check_drawing()
    from matplotlib.figure import Figure

    engines = list(dict.fromkeys(row.engine for row in measured))
    figure = Figure(figsize=(12, max(5.0, 1 + _LINE * len(measured))), layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(sorted(measured, key=lambda row: row.median_ms), 1):
        assert row.accuracy is not None
        name = Path(row.file).name.replace("$", r"\$")  # no formula
        threads = f"{row.threads} thread{'s' if row.threads > 1 else ''}"
        axes.scatter(
            row.median_ms,
            row.accuracy,
            s=170,
            color=f"C{engines.index(row.engine)}",
            marker="o" if row.threads == 1 else "s",
            alpha=0.8,
            label=f"{number}  {name}, {row.engine}, {row.precision}, {threads}, {row.median_ms:.2f} ms",
        )
        axes.annotate(str(number), (row.median_ms, row.accuracy), fontsize=7, color="white", ha="center", va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("median of one picture, ms")
    axes.set_ylabel("top-1 or mIoU")
    axes.margins(0.1)
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.005))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, markerscale=0.6)
    with write_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=120)
