"""`hswish info`, the network: its layers as a table, and a drawing of where its budget goes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from hswish.spec.budget import LayerCost

_EIGHTHS = "▏▎▍▌▋▊▉█"
"""A bar's last cell is drawn to an eighth of its width."""
_BLOCK = re.compile(r"(backbone\.blocks\.\d+)\.")


def with_shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows`, each with its `parameters_share` and `multiply_adds_share`, fractions of the sum over all rows."""
    for key in ("parameters", "multiply_adds"):
        total = max(sum(row[key] for row in rows), 1)
        for row in rows:
            row[f"{key}_share"] = row[key] / total
    return rows


def group_rows(layers: Sequence[LayerCost]) -> list[dict[str, Any]]:
    """The layers of a block put together; stem, last convolution and head stay layer by layer."""
    groups: dict[str, dict[str, Any]] = {}
    for layer in layers:
        block = _BLOCK.match(layer.name)
        name = block[1] if block else layer.name
        group = groups.setdefault(name, {"name": name, "parameters": 0, "multiply_adds": 0})
        group["output"] = list(layer.output)  # of the block's last layer
        group["parameters"] += layer.parameters
        group["multiply_adds"] += layer.multiply_adds
    return list(groups.values())


def print_layers(console: Console, layers: list[dict[str, Any]], width: int) -> None:
    """The table of layers, in `width` columns; narrow ones do without the air between columns."""
    from rich.table import Table

    gap = 2 if width >= 90 else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_footer=True)
    total = [sum(layer[key] for layer in layers) for key in ("parameters", "multiply_adds")]
    table.add_column("layer", "total", overflow="fold")
    table.add_column("kind", overflow="fold")
    table.add_column("output", overflow="fold")
    table.add_column("parameters", f"{total[0]:,}", justify="right")
    table.add_column("share", "100 %", justify="right")
    table.add_column("MAdds, M", f"{total[1] / 1e6:,.2f}", justify="right")
    table.add_column("share", "100 %", justify="right")
    for layer in layers:
        table.add_row(
            _short(layer["name"]),
            layer["kind"].replace("depthwise", "dw").replace("conv ", ""),
            " x ".join(map(str, layer["output"])),
            f"{layer['parameters']:,}",
            _percent(layer["parameters_share"]),
            f"{layer['multiply_adds'] / 1e6:,.2f}",
            _percent(layer["multiply_adds_share"]),
        )
    console.print(table)


def print_bars(console: Console, groups: list[dict[str, Any]], width: int) -> None:
    """Two bars a block, its shares of parameters and multiply-adds, on one scale."""
    from rich.text import Text

    names = [_short(group["name"]) for group in groups]
    name_width, percent_width, gap = max(map(len, names)), len("100.0 % "), "  "
    bar_width = max((width - name_width - 2 * (len(gap) + percent_width)) // 2, 4)
    largest = max(share for group in groups for share in (group["parameters_share"], group["multiply_adds_share"]))
    fine = draws_blocks()
    titles = gap.join(["", f"{'parameters':<{percent_width + bar_width}}", "multiply-adds"])
    console.print(Text(" " * name_width + titles, style="bold"))
    for name, group in zip(names, groups, strict=True):
        line = Text(f"{name:<{name_width}}")
        for share, colour in ((group["parameters_share"], "cyan"), (group["multiply_adds_share"], "magenta")):
            line.append(f"{gap}{_percent(share):>{percent_width - 1}} ")
            line.append(f"{bar(share / largest, bar_width, fine):<{bar_width}}", style=colour)
        line.rstrip()
        console.print(line)


def bar(fraction: float, width: int, fine: bool) -> str:
    """A bar of `fraction` of `width` columns: `fine` ones end in an eighth of a column, others are made of `#`.

    >>> bar(0.5, 6, fine=False)
    '###'
    """
    if not fine:
        return "#" * round(fraction * width)
    whole, eighths = divmod(round(8 * fraction * width), 8)
    return _EIGHTHS[-1] * whole + (_EIGHTHS[eighths - 1] if eighths else "")


def draws_blocks() -> bool:
    """Whether block characters can be written here and take one column each, as they do not in East Asian fonts."""
    language = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    try:
        _EIGHTHS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return not language.lower().startswith(("zh", "ja", "ko"))


def _short(name: str) -> str:
    return name.removeprefix("backbone.")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
