"""The demo's page: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hswish.evaluate import Evaluation
from hswish.spec.artifact import read_description
from hswish.spec.budget import count_multiply_adds, count_parameters
from hswish.spec.files import write_text


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network's share of the page."""

    title: str
    task: str
    file: Path
    evaluation: Evaluation
    rows: list[dict[str, Any]]
    """lines of `metrics.jsonl`"""
    curves: Path
    confusion: Path
    page: Path
    """test pictures with predictions"""


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; color: #1b1f24 }
h1 { margin-bottom: 0 } h2 { margin-top: 3rem; border-top: 1px solid #d9dde2; padding-top: 1.5rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .9rem; text-align: right }
th:first-child, td:first-child { text-align: left } td { white-space: nowrap } th { border-bottom: 2px solid #1b1f24 }
td { border-bottom: 1px solid #e7eaee } img { max-width: 100%; background: white } figure { margin: 1.5rem 0 }
figcaption { color: #5a6470 } .columns { display: flex; flex-wrap: wrap; gap: 2rem; align-items: start }
.columns > * { flex: 1 1 420px }
"""


def write_report(path: Path, parts: list[Part], seconds: float) -> None:
    """Write the page of all `parts`, which took `seconds` to make."""
    body = "\n".join(_section(part) for part in parts)
    write_text(
        path,
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>hswish demo</title><style>{_STYLE}</style>
<h1>hswish demo</h1>
<p>Two networks from "Searching for MobileNetV3", trained from scratch on this machine in
{seconds:.0f} seconds and measured on pictures that neither saw.</p>
{_overview(parts)}
{body}
</html>
""",
    )


def _overview(parts: list[Part]) -> str:
    cells = []
    for part in parts:
        description = read_description(part.file)
        architecture, size = description.architecture(), description.preprocess
        name, value = part.evaluation.headline
        cells.append(
            (
                part.file.name,
                f"{size.height} x {size.width}",
                f"{count_parameters(architecture):,}",
                f"{count_multiply_adds(architecture, size.height, size.width) / 1e6:.1f} M",
                f"{part.file.stat().st_size / 1e6:.1f} MB",
                f"{len(part.rows)}",
                f"{part.evaluation.count}",
                f"<b>{value:.4f}</b> {name}",
            )
        )
    head = ("model", "input", "parameters", "multiply-adds", "file", "epochs", "test pictures", "score")
    return _table(head, cells)


def _section(part: Part) -> str:
    values = part.evaluation.to_dict()
    columns = list(next(iter(values["details"].values())))
    rows = [(escape(name), *map(_cell, figures.values())) for name, figures in values["details"].items()]
    return f"""
<h2>{escape(part.title)}</h2>
{_figure(part.curves, "Training loss and validation score, epoch by epoch.")}
<div class="columns">
{_figure(part.confusion, "Confusion matrix on the test split: rows are the truth, in percent.")}
<div>{_table(("class", *columns), rows)}</div>
</div>
{_figure(part.page, "Test pictures with predictions.")}
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _figure(picture: Path, caption: str) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
