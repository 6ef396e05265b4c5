"""`hswish info`: what a model is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hswish.cli.console import print_json, print_line, stdout
from hswish.cli.options import parse_size
from hswish.spec.errors import OptionError


def info_command(
    model: Annotated[str, typer.Argument(help="Name of an architecture, or a model file.", show_default=False)],
    size: Annotated[str | None, typer.Option(help="Input size to count for: 224 or 360x480 (height x width).")] = None,
    width_mult: Annotated[float | None, typer.Option(help="Multiplier of the channel counts.")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Outputs.")] = None,
    output_stride: Annotated[int | None, typer.Option(help="32, 16 or 8.")] = None,
    reduced_tail: Annotated[bool | None, typer.Option("--reduced-tail/--full-tail", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Layers, parameters and multiply-adds; for a file also classes, preprocessing, metrics, provenance.

    [bold]Examples[/bold]

      hswish info mobilenet_v3_large

      hswish info lraspp_mobilenet_v3_small --num-classes 11 --size 360x480

      hswish info best.safetensors --json
    """
    options = {
        "width_mult": width_mult,
        "num_classes": num_classes,
        "output_stride": output_stride,
        "reduced_tail": reduced_tail,
    }
    given = {name: value for name, value in options.items() if value is not None}
    values = _from_file(model, given) if _is_file(model) else _from_name(model, given)
    architecture = values.pop("architecture")
    height, width = values.pop("size")
    if size is not None:
        asked_height, asked_width = parse_size(size)
        height, width = asked_height, asked_width or asked_height
    values |= _count(architecture, height, width)
    if json_:
        print_json(values)
    else:
        _print(values)


def _is_file(model: str) -> bool:
    return Path(model).exists() or "/" in model or "." in model


def _from_file(path: str, options: dict[str, Any]) -> dict[str, Any]:
    from hswish.spec.artifact import read_description

    if options:
        raise OptionError(f"{path}: a file has its options fixed; leave {', '.join(options)} out")
    description = read_description(path)
    return {
        "model": description.model,
        "task": description.task,
        "classes": list(description.classes),
        "preprocess": description.preprocess.to_dict(),
        "metrics": description.metrics,
        "provenance": description.provenance,
        "architecture": description.architecture(),
        "size": (description.preprocess.height, description.preprocess.width),
    }


def _from_name(name: str, options: dict[str, Any]) -> dict[str, Any]:
    from hswish.spec.architecture import resolve

    architecture = resolve(name, **options)
    size = (1024, 2048) if architecture.task == "segmentation" else (224, 224)  # the sizes of the paper's tables
    return {"model": name, "task": architecture.task, "architecture": architecture, "size": size}


def _count(architecture: Any, height: int, width: int) -> dict[str, Any]:
    from hswish.spec.budget import layer_costs

    layers = layer_costs(architecture, height, width)
    return {
        "options": architecture.options_dict(),
        "input": [architecture.options.in_channels, height, width],
        "parameters": sum(layer.parameters for layer in layers),
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "source": architecture.source,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "output": list(layer.output),
                "parameters": layer.parameters,
                "multiply_adds": layer.multiply_adds,
            }
            for layer in layers
        ],
    }


def _print(values: dict[str, Any]) -> None:
    from rich.table import Table

    console = stdout()
    total = max(values["multiply_adds"], 1)
    table = Table(box=None)
    for column in ("layer", "kind", "output"):
        table.add_column(column, overflow="fold", no_wrap=False)
    for column in ("parameters", "multiply-adds", "share"):
        table.add_column(column, justify="right")
    for layer in values["layers"]:
        channels, height, width = layer["output"]
        table.add_row(
            layer["name"],
            layer["kind"],
            f"{channels} x {height} x {width}",
            f"{layer['parameters']:,}",
            f"{layer['multiply_adds']:,}",
            f"{100 * layer['multiply_adds'] / total:.1f} %",
        )
    console.print(table)
    console.print(f"{values['model']} ({values['task']}; {values['source']} of arXiv 1905.02244)")
    console.print(f"input          {' x '.join(map(str, values['input']))}")
    console.print(f"parameters     {values['parameters']:,}")
    console.print(f"multiply-adds  {values['multiply_adds'] / 1e6:.2f} M")
    if "classes" in values:
        print_line(f"classes        {', '.join(values['classes'])}")
        print_line("preprocess     " + ", ".join(f"{key} {value}" for key, value in values["preprocess"].items()))
        for split, figures in values["metrics"].items():
            print_line(f"{split:<15}{_figures(figures)}")
        for key, value in values["provenance"].items():
            print_line(f"{key:<15}{value}")


def _figures(figures: Any) -> str:
    if not isinstance(figures, dict):  # a file may say anything there
        return str(figures)
    return ", ".join(f"{key} {value:.4f}" for key, value in figures.items() if isinstance(value, float))
