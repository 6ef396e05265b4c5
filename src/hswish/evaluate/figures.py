"""Figures of an evaluation and of a training run, drawn by matplotlib without a display."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hswish.evaluate.evaluation import Evaluation
from hswish.evaluate.lettering import plain
from hswish.metrics.confusion import ratio
from hswish.spec.errors import DataError, MissingPackageError
from hswish.spec.files import write_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GREY, _LINE = "#22262b", "#8a9099", "#d9dce0"
_BLUE, _GREEN = "#2563b0", "#1f8a5b"
_DPI = 120


def check_drawing() -> None:
    """Find out before hours of work whether their figures can be drawn.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError("matplotlib", "plot", "drawing figures") from error


def confusion_picture(evaluation: Evaluation, path: str | Path) -> None:
    """Draw the confusion matrix, each row as shares of its true class, to `path`.

    Up to 20 classes the cells show percentages; with many classes the picture grows so that
    every name stays readable. Rows of classes that do not occur are left grey.

    Raises:
        SaveError: the file cannot be written.
        MissingPackageError: matplotlib is not installed.
    """
    confusion = evaluation.scores.confusion
    shares = ratio(confusion, np.broadcast_to(confusion.sum(axis=1, keepdims=True), confusion.shape))
    count = len(shares)
    side = float(np.clip(0.62 * count, 3.2, 9.0) if count <= 20 else np.clip(0.17 * count, 7.5, 40.0))
    font = 9.0 if count <= 12 else 8.0 if count <= 20 else 7.0
    figure = _figure(side + 2.6, side + 2.2)
    axes = figure.add_subplot()
    axes.set_facecolor("#eceef0")  # where a class does not occur
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    names = [name if len(name) <= 18 else name[:17] + "…" for name in evaluation.classes]
    letter = 0.62 * font / 72  # inches, on average
    upright = max(map(len, names)) * letter > 0.9 * side / count
    axes.set_xticks(range(count), map(plain, names), fontsize=font, rotation=90 if upright else 0)
    axes.set_yticks(range(count), map(plain, names), fontsize=font)
    axes.set_xlabel("predicted", color=_INK, labelpad=8)
    axes.set_ylabel("truth", color=_INK, labelpad=8)
    axes.tick_params(length=0, colors=_INK)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2 if count <= 20 else 0.3)
    axes.tick_params(which="minor", length=0)
    _no_frame(axes)
    if count <= 20:
        _write_percentages(axes, shares, font)
    name, value = evaluation.headline
    axes.set_title(
        plain(f"{evaluation.data}, {evaluation.split}: {_title_of(name)} {value:.1%}"),
        color=_INK, fontsize=11 if count <= 40 else 16, loc="left", pad=12,
    )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 0.5, 1], shrink=min(0.6, 5 / side))
    bar.ax.set_yticklabels(["0%", "50%", "100%"], fontsize=8, color=_INK)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    _save(figure, path)


def curves_picture(history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw a run's loss with its learning rate, and its score with the best epoch, to `path`.

    Args:
        history: rows of `metrics.jsonl`: `epoch`, and if present `loss`, `lr`, `top1` or `miou` (fractions).

    Raises:
        DataError: no row to draw.
        SaveError: the file cannot be written.
        MissingPackageError: matplotlib is not installed.
    """
    if not history:
        raise DataError("no epoch has been recorded, so there is no curve to draw; train for one epoch or more")
    figure = _figure(10.5, 3.9)
    left, right = figure.subplots(1, 2)
    _plot_losses(left, history)
    _plot_score(right, history)
    for axes in (left, right):
        _quiet_axes(axes)
    _save(figure, path)


def class_curves_picture(history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw how each class did over the epochs, best at the end first, to `path`.

    Args:
        history: rows of `metrics.jsonl` with `epoch` and `per_class` (fractions by name, None where
            undefined); rows without are left out.

    Raises:
        DataError: no row says anything of the classes.
        SaveError: the file cannot be written.
        MissingPackageError: matplotlib is not installed.
    """
    rows = [row for row in history if isinstance(row.get("per_class"), Mapping) and row["per_class"]]
    if not rows:
        raise DataError("no epoch has recorded its classes, so there is no picture of them")
    names = list(rows[-1]["per_class"])
    values = np.array([[row["per_class"].get(name) for row in rows] for name in names], float)  # None is nan
    order = np.argsort(-np.nan_to_num(values[:, -1], nan=-1.0), kind="stable")
    names, values = [names[index] for index in order], values[order]
    figure = _figure(8.5, 1.4 + 0.22 * len(names))
    axes = figure.add_subplot()
    axes.set_facecolor("#eceef0")  # where a class does not occur
    first, last = (float(rows[place].get("epoch", place)) for place in (0, -1))
    axes.imshow(
        values, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest",
        extent=(first - 0.5, last + 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    axes.set_yticks(range(len(names)), [plain(name[:24]) for name in names], fontsize=8)
    axes.set_title(f"{_class_figure(rows[-1])} of each class, validation", loc="left", color=_INK, fontsize=11)
    axes.set_xlabel("epoch", color=_INK, fontsize=9)
    axes.tick_params(length=0, colors=_INK, labelsize=8)
    right = axes.secondary_yaxis("right")
    said = ["-" if math.isnan(value) else f"{100 * value:.1f}%" for value in values[:, -1]]
    right.set_yticks(range(len(names)), said, fontsize=8)
    right.tick_params(length=0, colors=_INK)
    _no_frame(axes)
    _no_frame(right)
    _whole_epochs(axes)
    _save(figure, path)


def _class_figure(row: Mapping[str, Any]) -> str:
    return "IoU" if "miou" in row else "recall"


def _plot_losses(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("loss", loc="left", color=_INK, fontsize=11)
    lines = []
    epochs, values = _column(history, "loss")
    if values:
        lines += axes.plot(epochs, values, color=_BLUE, linewidth=1.8, marker=_marker(values), label="training")
    epochs, values = _column(history, "lr")
    if values:
        rate = axes.twinx()
        style: Any = {"color": _GREY, "linewidth": 1, "linestyle": (0, (4, 2)), "label": "learning rate"}
        lines += rate.plot(epochs, values, marker="." if len(values) == 1 else "", **style)
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter("{x:.2g}")
        rate.tick_params(length=0, colors=_GREY, labelsize=8)
        _no_frame(rate)
    if lines:
        axes.legend(
            handles=lines, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.3,
            frameon=False, fontsize=9, labelcolor=_INK, handlelength=1.6, columnspacing=1.4,
        )  # fmt: skip


def _plot_score(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    key = next((key for key in ("top1", "miou") if _column(history, key)[1]), None)
    if key is None:
        axes.set_title("score: none recorded", loc="left", color=_GREY, fontsize=11)
        return
    epochs, values = _column(history, key)
    percents = [100 * value for value in values]
    axes.set_title(f"{_title_of(key)}, validation", loc="left", color=_INK, fontsize=11)
    axes.plot(epochs, percents, color=_GREEN, linewidth=1.8, marker=_marker(percents))
    best = int(np.argmax(percents))
    axes.plot(epochs[best], percents[best], "o", color=_GREEN, markersize=7, markeredgecolor="white")
    late = best > 0.6 * len(percents)
    axes.annotate(
        f"best {percents[best]:.1f}%, epoch {epochs[best]:g}", (epochs[best], percents[best]),
        xytext=(-6 if late else 6, 7), textcoords="offset points",
        ha="right" if late else "left", color=_INK, fontsize=9,
    )  # fmt: skip
    axes.margins(y=0.12)
    axes.yaxis.set_major_formatter("{x:g}%")


def _column(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Epochs and values of the rows that have a finite `key`."""
    rows = [
        (float(row.get("epoch", index)), float(row[key]))
        for index, row in enumerate(history)
        if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])
    ]
    return [epoch for epoch, _ in rows], [value for _, value in rows]


def _write_percentages(axes: Axes, shares: np.ndarray, font: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:  # zeros would only hide the pattern
            colour = "white" if share > 0.55 else _INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=font)


def _title_of(key: str) -> str:
    return {"top1": "top-1 accuracy", "miou": "mean IoU"}[key]


def _marker(values: Sequence[float]) -> str:
    """Dots while there are few points: a single one would be no line at all."""
    return "o" if len(values) == 1 else "." if len(values) <= 12 else ""


def _quiet_axes(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    _whole_epochs(axes)
    axes.set_xlabel("epoch", color=_INK, fontsize=9)
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK, labelsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    low, high = axes.get_ylim()
    if high - low < 0.05 * abs(high):  # one epoch, or a flat line: no ruler for the last digits
        axes.set_ylim(low - 0.1 * abs(high), high + 0.1 * abs(high))
    _no_frame(axes)


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _no_frame(axes: Any) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that needs neither a display nor pyplot's global state."""
    check_drawing()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    return figure


def _save(figure: Figure, path: str | Path) -> None:
    kind = Path(path).suffix.lstrip(".").lower()
    with write_aside(path) as aside:
        figure.savefig(aside, format=kind if kind in ("png", "svg", "pdf") else "png")
