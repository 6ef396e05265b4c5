"""`hswish export`: writes a model for devices, and proves each file equal to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hswish.cli.console import print_json, print_note, stdout
from hswish.cli.locating import MODEL_HELP, locate_model
from hswish.cli.options import parse_size
from hswish.spec.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

    from hswish.export import ParityReport
    from hswish.spec.architecture import Task


def export_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    format_: Annotated[
        str, typer.Option("--format", "-f", help="onnx, openvino, litert, executorch, ncnn, coreml; several by commas.")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the files; the model's own by default."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Pictures to prove the files on: a data set, a folder, a picture.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="How many of them.")] = 8,
    size: Annotated[str | None, typer.Option(help="Input size: 224 or 360x480; the model's own by default.")] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Any batch, height and width (onnx, openvino).")] = False,
    embed: Annotated[
        list[str] | None,
        typer.Option(help="preprocess: takes uint8 pictures; argmax: gives uint8 masks. May be given twice."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Processor threads when timing.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a model for other runtimes. Each file is run beside the network on real pictures first.

    A file that answers differently is an error, and is not kept.

    [bold]Examples[/bold]

      hswish export best.safetensors

      hswish export best.safetensors --format onnx,openvino,litert --data pictures/ --out device/

      hswish export best.safetensors --format litert --embed preprocess --half

      hswish export scenes.safetensors --format onnx --dynamic
    """
    from hswish.export import ExportOptions, export
    from hswish.models import load

    file = locate_model(model)
    network = load(file)
    height, width = parse_size(size) if size else (None, None)
    options = ExportOptions(
        size=None if height is None else (height, width or height),
        dynamic=dynamic,
        embed=tuple(step for given in embed or () for step in given.split(",") if step),
        half=half,
    )
    folder = file.parent if Path(model).exists() else Path()  # a fetched model lies in the cache
    stem = (out or folder) / file.stem
    formats = [name.strip() for name in format_.split(",") if name.strip()]
    reports = export(
        network,
        formats,
        stem,
        _pictures(data, network.description.task, pictures),
        options=options,
        threads=threads,
        progress=lambda name: print_note(f"{name} ..."),
    )
    if json_:
        print_json({"model": model, "folder": str(stem.parent), "exports": [report.to_dict() for report in reports]})
        return
    _print(reports)
    print_note(f"wrote {stem.parent}{os.sep}{', '.join(report.file for report in reports)}")


def _pictures(data: str | None, task: Task, count: int) -> list[Image.Image]:
    """Up to `count` real pictures: of a data set's evaluation split, of a folder, or handwritten digits."""
    from hswish.data import BUILT_IN, open_data
    from hswish.data.source import evenly
    from hswish.runtime import expand_sources

    if data is None:
        data = next(name for name, kind in BUILT_IN.items() if kind == task)
    try:
        source = open_data(data, task=task)
    except DataError:
        if data in BUILT_IN:
            raise
        found = list(expand_sources([data]))  # pictures without classes do as well
        return [named.read() for named in found[:: -(-len(found) // count)]]
    split = next(split for split in ("val", "test", *source.splits) if split in source.splits)
    return [source.read_picture(item) for item in evenly(source.items(split), count)]


def _print(reports: list[ParityReport]) -> None:
    """One table of the files, one of what each runtime makes of them."""
    from rich.table import Table

    console = stdout()
    table = Table("file", "runtime", box=None)
    for column in ("largest difference", "allowed", "agreement", "ms", "torch ms", "MB"):
        table.add_column(column, justify="right")
    for report in reports:
        table.add_row(
            report.file,
            report.runtime or "not run here",
            _cell(report.largest_difference, ".1e"),
            _cell(report.limit, ".1e"),
            _cell(report.agreement, ".4%"),
            _cell(report.time_ms, ".1f"),
            _cell(report.reference_ms, ".1f"),
            f"{report.bytes / 1e6:.2f}",
        )
    console.print(table)
    for report in reports:
        if report.operators:
            steps = ", ".join(f"{step.count} {step.kind} {step.dtype}".rstrip() for step in report.operators)
            slow = ", ".join(dict.fromkeys(step.kind for step in report.slow_operators))
            console.print(f"{report.format}: {steps}", markup=False)
            console.print(f"  outside the fast kernels: {slow or 'none'}", markup=False)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
