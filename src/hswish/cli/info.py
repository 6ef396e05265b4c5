"""`hswish info`: what a model is made of, where its budget goes, and what has been published about it."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hswish.cli.console import print_json, print_line, stdout
from hswish.cli.info_drawing import group_rows, print_bars, print_layers, with_shares
from hswish.cli.info_published import print_published, print_wrapped, published_values
from hswish.cli.locating import locate_model
from hswish.cli.options import parse_size
from hswish.spec.errors import OptionError

if TYPE_CHECKING:
    from rich.console import Console

    from hswish.spec.architecture import Architecture

_MAX_WIDTH = 100
_PIPED_WIDTH = 80
"""Columns that drawing and notes take at most on a terminal, and in a file or pipe."""


def info_command(
    model: Annotated[
        str,
        typer.Argument(help="Architecture, or a model: file, published name, hf://...", show_default=False),
    ],
    size: Annotated[str | None, typer.Option(help="Input size to count for: 224 or 360x480 (height x width).")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Outputs.")] = None,
    width_mult: Annotated[float | None, typer.Option(help="Multiplier of the channel counts.")] = None,
    width_rule: Annotated[
        str | None, typer.Option(help="How it is applied: tensorflow, torchvision, timm, keras.")
    ] = None,
    output_stride: Annotated[int | None, typer.Option(help="32, 16 or 8.")] = None,
    reduced_tail: Annotated[
        bool | None, typer.Option("--reduced-tail/--full-tail", help="Halve the last stage.", show_default=False)
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Segmentation head: lraspp, official, seed, torchvision, fastseg, raspp.")
    ] = None,
    head_channels: Annotated[int | None, typer.Option(help="Width of the head.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other option of create_model, as in --set in_channels=1; repeatable."),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers/--no-layers", help="Print the table of layers.")] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Layers, parameters and multiply-adds, drawn and beside the published figures.

    For a file also classes, preprocessing, metrics and provenance.

    [bold]Examples[/bold]

      hswish info mobilenet_v3_large

      hswish info mobilenet_v3_small --width-mult 0.75 --no-layers

      hswish info lraspp_mobilenet_v3_small --num-classes 11 --size 360x480

      hswish info best.safetensors --json
    """
    options = {
        "width_mult": width_mult,
        "num_classes": num_classes,
        "output_stride": output_stride,
        "reduced_tail": reduced_tail,
        "width_rule": width_rule,
        "head": head,
        "head_channels": head_channels,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name, value in map(parse_setting, set_ or []):
        if name in given:
            raise OptionError(f"{name} is given twice")
        given[name] = value
    values = _from_file(model, given) if _is_file(model) else _from_name(model, given)
    architecture = values.pop("architecture")
    height, width = values.pop("size")
    if size is not None:
        asked_height, asked_width = parse_size(size)
        height, width = asked_height, asked_width or asked_height
    values |= _account(architecture, height, width)
    if json_:
        print_json(values)
    else:
        _print(values, layers)


def parse_setting(text: str) -> tuple[str, bool | int | float | str | None]:
    """`width_mult=0.5` to ("width_mult", 0.5); true, false and none are what they say, a word is a word.

    Raises:
        OptionError: no `=`.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"--set takes NAME=VALUE, as in --set in_channels=1, not {text!r}")
    words: dict[str, bool | None] = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return name, words[value.lower()]
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return name, number(value)
    return name, value


def _is_file(model: str) -> bool:
    from hswish.spec.architecture import MODEL_NAMES

    return model not in MODEL_NAMES and (Path(model).exists() or "/" in model or "." in model)


def _from_file(path: str, options: dict[str, Any]) -> dict[str, Any]:
    from hswish.spec.artifact import read_description

    if options:
        raise OptionError(f"{path}: a file has its options fixed; leave {', '.join(options)} out")
    description = read_description(locate_model(path))
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
    from hswish.spec.published import rows_of

    architecture = resolve(name, **options)
    published = rows_of(architecture)
    # Where nobody has published this very network: the sizes of the paper's tables.
    size = (1024, 2048) if architecture.task == "segmentation" else (224, 224)
    return {
        "model": name,
        "task": architecture.task,
        "architecture": architecture,
        "size": published[0].size_px if published else size,
    }


def _account(architecture: Architecture, height: int, width: int) -> dict[str, Any]:
    """The budget in layers and in blocks, and what is published about it."""
    from hswish.spec.budget import layer_costs

    costs = layer_costs(architecture, height, width)
    counts = {
        "parameters": sum(layer.parameters for layer in costs),
        "multiply_adds": sum(layer.multiply_adds for layer in costs),
    }
    return {
        "options": architecture.options_dict(),
        "input": [architecture.options.in_channels, height, width],
        **counts,
        "source": architecture.source,
        "layers": with_shares([asdict(layer) for layer in costs]),
        "blocks": with_shares(group_rows(costs)),
        **published_values(architecture, height, width, counts),
    }


def _print(values: dict[str, Any], layers: bool) -> None:
    console = stdout()
    width = min(console.width, _MAX_WIDTH) if console.is_terminal else _PIPED_WIDTH
    if layers:
        print_layers(console, values["layers"], width)
        print_line("")
    print_bars(console, values["blocks"], width)
    print_line("")
    _print_about(console, values, width)
    if "classes" in values:
        _print_file(values)
    print_line("")
    print_published(console, values, width)


def _print_about(console: Console, values: dict[str, Any], width: int) -> None:
    from hswish.spec.architecture import make_options

    usual = asdict(make_options(values["model"]))
    changed = [f"{key} {value}" for key, value in values["options"].items() if value != usual[key]]
    source, _, head = values["source"].partition("; head: ")
    console.print(f"{values['model']} ({values['task']}; {source} of arXiv 1905.02244)")
    if head:
        print_wrapped(f"head           {head}", width, indent=15)
    if changed:
        print_wrapped(f"options        {', '.join(changed)}", width, indent=15)
    console.print(f"input          {' x '.join(map(str, values['input']))}")
    console.print(f"parameters     {values['parameters']:,}")
    console.print(f"multiply-adds  {values['multiply_adds'] / 1e6:,.2f} M (convolutions and linear layers)")


def _print_file(values: dict[str, Any]) -> None:
    """What only a file knows."""
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
