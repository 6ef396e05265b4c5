"""`hswish models`: the networks there are, with their budgets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hswish.cli.console import print_json, stdout


def models_command(
    json_: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List the networks with their parameters and multiply-adds at the paper's sizes.

    [bold]Examples[/bold]

      hswish models

      hswish models --json
    """
    from rich.table import Table

    rows = _rows()
    if json_:
        print_json(rows)
        return
    table = Table(box=None)
    for column in ("model", "task"):
        table.add_column(column, overflow="fold", no_wrap=False)
    for column in ("input", "classes", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            row["task"],
            f"{row['height']}x{row['width']}",
            str(row["num_classes"]),
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.1f} M",
        )
    stdout().print(table)


def _rows() -> list[dict[str, Any]]:
    from hswish.spec.architecture import MODEL_NAMES, resolve
    from hswish.spec.budget import count_multiply_adds, count_parameters

    rows = []
    for name in MODEL_NAMES:
        architecture = resolve(name)
        height, width = (1024, 2048) if architecture.task == "segmentation" else (224, 224)
        rows.append(
            {
                "name": name,
                "task": architecture.task,
                "height": height,
                "width": width,
                "num_classes": architecture.options.num_classes,
                "parameters": count_parameters(architecture),
                "multiply_adds": count_multiply_adds(architecture, height, width),
            }
        )
    return rows
