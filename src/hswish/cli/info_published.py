"""`hswish info`, the literature: published rows beside our counts, and where sources disagree."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from hswish.cli.console import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from hswish.spec.architecture import Architecture
    from hswish.spec.published import PublishedRow


def published_values(arch: Architecture, height: int, width: int, counts: dict[str, int]) -> dict[str, Any]:
    """The rows about `arch` at this size with the difference of our `counts`, other sizes, and notes."""
    from hswish.spec.published import notes_for, published_rows, rows_of

    sizes = sorted({row.size_px for row in rows_of(arch)})
    return {
        "published": [_beside(row, counts) for row in published_rows(arch, height, width)],
        "published_sizes": [list(size) for size in sizes],
        "notes": [{"topic": note.topic, "text": note.text} for note in notes_for(arch)],
    }


def _beside(row: PublishedRow, counts: dict[str, int]) -> dict[str, Any]:
    """A row, with how far our counts lie from it: 0 where ours, rounded to the printed digits, are the same."""
    difference = {}
    for key, ours in counts.items():
        printed = getattr(row, key)
        if printed is not None:
            same = printed.of(ours) == printed.text
            difference[key] = 0.0 if same else ours / printed.value - 1
    return {**row.to_dict(), "difference": difference}


def print_published(console: Console, values: dict[str, Any], width: int) -> None:
    """The paper's own row in full, the other rows a line each, then the notes."""
    rows = list(values["published"])
    if not rows:
        print_wrapped(_why_none(values), width)
    elif rows[0]["from_paper"]:  # the paper's come first
        console.print(_comparison(rows.pop(0), values))
    else:
        print_line("no row of the paper is about this network")
    if rows:
        print_line("")
        console.print(_sources(rows))
    if values["notes"]:
        print_line("")
        console.print("where sources disagree", style="bold")
    for note in values["notes"]:
        print_wrapped(f"- {note['topic']}: {note['text']}", width, indent=2)


def print_wrapped(text: str, width: int, indent: int = 0) -> None:
    """`text` in lines of `width` columns; all but the first begin with `indent` spaces."""
    for line in textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False):
        print_line(line)


def _why_none(values: dict[str, Any]) -> str:
    """Why there is nothing to compare with, and where there would be."""
    if not values["published_sizes"]:
        return "no published row is about this network"
    sizes = ", ".join(f"{height}x{width}" for height, width in values["published_sizes"])
    return f"no published row is about this input size; there are rows for --size {sizes}"


def _comparison(row: dict[str, Any], values: dict[str, Any]) -> Any:
    """Ours, theirs, difference: a line for each figure that the row has."""
    table = _table("", "ours", row["source"], "difference")
    for label, key in (("parameters", "parameters"), ("multiply-adds", "multiply_adds")):
        if key in row["printed"]:
            printed = row["printed"][key]
            table.add_row(label, _ours(key, values[key], printed), printed, _difference(row["difference"][key]))
    if row["top1"] is not None or row["miou"] is not None:
        table.add_row(*_score_label(row), "")
    return table


def _ours(key: str, count: int, printed: str) -> str:
    """Parameters to the last one; multiply-adds in the source's unit, with digits to see what was rounded."""
    if key == "parameters":
        return f"{count:,}"
    return f"{count / 1e6:,.2f}M" if printed.endswith("M") else f"{count / 1e9:,.3f}{printed[-1]}"


def _score_label(row: dict[str, Any]) -> tuple[str, str, str]:
    name = "top-1" if row["top1"] is not None else "mIoU"
    return f"{name}, {row['data']}", "-", _score(row)


def _sources(rows: list[dict[str, Any]]) -> Any:
    """A line a source."""
    name = "top-1" if any(row["top1"] is not None for row in rows) else "mIoU"
    table = _table("also published", "parameters", "multiply-adds", name)
    for row in rows:
        printed = row["printed"]
        where = "" if row["data"] == "ImageNet" else f" ({row['data']})"
        cells = [printed.get(key, "") for key in ("parameters", "multiply_adds")]
        table.add_row(row["source"] + where, *cells, _score(row))
    return table


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _score(row: dict[str, Any]) -> str:
    score = row["top1"] if row["top1"] is not None else row["miou"]
    if score is None:
        return ""
    return f"{score:g} %" if score % 1 else f"{score:.1f} %"


def _difference(fraction: float) -> str:
    return "same" if fraction == 0 else f"{100 * fraction:+.1f} %"
