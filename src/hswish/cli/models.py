"""`hswish models`: the networks there are, with their budgets, and the weights that are published for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hswish.cli.console import print_json, print_line, stdout

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from hswish.hub.weights import PublishedWeights


def models_command(
    json_: Annotated[
        bool, typer.Option("--json", help="Print a JSON list of architectures, each with its published weights.")
    ] = False,
) -> None:
    """List the networks with their budgets at the paper's sizes, and all published weights with their accuracy.

    Every name of weights is understood wherever a model is: they are fetched, verified and
    converted when they are first used. Figures are their publishers'.

    [bold]Examples[/bold]

      hswish models

      hswish models --json

      hswish predict mobilenet_v3_large.tv_in1k_v2 photo.jpg
    """
    rows = _rows()
    if json_:
        print_json(rows)
        return
    stdout().print(_architectures(rows))
    print_line("")
    stdout().print(_weights([weights for row in rows for weights in row["weights"]]))


def _architectures(rows: list[dict[str, Any]]) -> Table:
    table = _table(("architecture", "task"), ("input", "classes", "parameters", "multiply-adds"))
    for row in rows:
        table.add_row(
            row["name"],
            row["task"],
            f"{row['height']}x{row['width']}",
            str(row["num_classes"]),
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.1f} M",
        )
    return table


def _weights(rows: list[dict[str, Any]]) -> Table:
    table = _table(("published weights", "accuracy"), ("parameters", "size"), ("trained on", "licence"))
    for row in rows:
        stated = "" if row["size_stated"] else "~"
        table.add_row(
            row["name"],
            ", ".join(f"{key} {value:.4f}" for key, value in row["metrics"].items()),
            f"{row['parameters']:,}",
            f"{stated}{row['size_mb']:.1f} MB",
            row["data"],
            row["licence"],
        )
    return table


def _table(left: tuple[str, ...], right: tuple[str, ...], more: tuple[str, ...] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right")
    for name in more:
        table.add_column(name, overflow="fold")
    return table


def _rows() -> list[dict[str, Any]]:
    from hswish.hub.weights import WEIGHTS
    from hswish.hub.zoo import zoo_files
    from hswish.spec.architecture import MODEL_NAMES, resolve
    from hswish.spec.budget import count_multiply_adds, count_parameters

    weights = [*map(_about_own, zoo_files()), *map(_about, WEIGHTS)]
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
                "weights": [about for about in weights if about["name"].split(".")[0] == name],
            }
        )
    return rows


def _about_own(path: Path) -> dict[str, Any]:
    """A model of the project's own `zoo/`, in the words of its file."""
    from hswish.spec.artifact import read_description
    from hswish.spec.budget import count_parameters

    description = read_description(path)
    figures = description.metrics.get("test") or description.metrics.get("val") or {}
    return {
        "name": path.name.removesuffix(".safetensors"),
        "also": None,
        "metrics": {key: figures[key] for key in ("top1", "top5", "miou", "pixel_accuracy") if key in figures},
        "data": description.provenance.get("data", "not stated"),
        "parameters": count_parameters(description.architecture()),
        "size_mb": round(path.stat().st_size / 1e6, 3),
        "size_stated": True,
        "preprocess": description.preprocess.to_dict(),
        "licence": description.provenance.get("licence", "not stated"),
        "source": None,
        "url": None,
        "checksum": None,
        "page": None,
    }


def _about(row: PublishedWeights) -> dict[str, Any]:
    return {
        "name": row.name,
        "also": row.also,
        "metrics": row.metrics,
        "data": row.data,
        "parameters": row.parameters,
        "size_mb": row.size_mb or round(4e-6 * (row.parameters or 0), 1),  # four bytes a parameter
        "size_stated": row.size_mb is not None,
        "preprocess": row.preprocess and row.preprocess.to_dict(),
        "licence": row.licence,
        "source": row.source,
        "url": row.url,
        "checksum": row.checksum,
        "page": row.page,
    }
