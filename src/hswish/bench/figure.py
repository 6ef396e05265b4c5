"""The picture of a benchmark: accuracy over latency, one dot a contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hswish.bench.measure import Row
from hswish.evaluate.figures import check_drawing
from hswish.spec.errors import OptionError
from hswish.spec.files import write_aside


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

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for threads in sorted({row.threads for row in measured}):
        some = [row for row in measured if row.threads == threads]
        accuracies = [row.accuracy for row in some if row.accuracy is not None]
        axes.scatter([row.median_ms for row in some], accuracies, label=f"{threads} threads")
        for row, accuracy in zip(some, accuracies, strict=True):
            name = f"{Path(row.file).name} {row.engine} {row.precision}"
            axes.annotate(name, (row.median_ms, accuracy), fontsize=7, rotation=30)
    axes.set_xscale("log")
    axes.set_xlabel("median of one picture, ms")
    axes.set_ylabel("top-1 or mIoU")
    axes.margins(0.2)
    axes.legend()
    with write_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=120)
