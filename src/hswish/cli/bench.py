"""`hswish bench`: speed, memory and accuracy of model files, engine by engine."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hswish.cli.bench_exports import exports
from hswish.cli.console import counting, print_json, print_note, print_warning, printable, stdout
from hswish.cli.evaluating import open_as_trained
from hswish.cli.locating import locate_model
from hswish.spec.errors import DataError, OptionError

if TYPE_CHECKING:
    from PIL import Image

    from hswish.bench import Contender, Row


def bench_command(
    models: Annotated[list[str], typer.Argument(help="Model files of any format, names, hf://...", show_default=False)],
    formats: Annotated[
        str | None,
        typer.Option(
            help="Export hswish models to these formats first, by commas, and time them too; all: all that run."
        ),
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option(help="With --formats: in 8 bits too, calibrated on this labelled data.")
    ] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; may be given several times.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="What the native engine computes files of floats in, by commas: float32,bfloat16."),
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of processor threads, by commas; all: every core.")] = "1,all",
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each.")] = 50,
    data: Annotated[str | None, typer.Option(help="Measure accuracy on this data set, too.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="Pictures of the split to measure on.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write accuracy over latency as a PNG.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time model files side by side: each in a process of its own, a few runs of each in turn.

    [bold]Examples[/bold]

      hswish bench best.safetensors --formats all --calibrate pictures/ --data pictures/

      hswish bench best.onnx best.tflite best.xml

      hswish bench best.safetensors best.onnx --threads 1,2 --runs 200

      hswish bench best.onnx best.tflite --data pictures/ --plot bench.png --json
    """
    from hswish.bench import contenders, machine, measure
    from hswish.evaluate.figures import check_drawing

    if plot is not None and data is None:
        raise OptionError("--plot shows accuracy over time: give --data")
    if plot is not None:
        check_drawing()
    if calibrate is not None and formats is None:
        raise OptionError("--calibrate is for the files that --formats makes; add it, or give files in 8 bits")
    files = list(dict.fromkeys(locate_model(model) for model in models))
    precisions = list(dict.fromkeys(part.strip() for part in precision.split(","))) if precision is not None else []
    counts = _threads(threads)
    with tempfile.TemporaryDirectory(prefix="hswish-bench-") as folder:
        if formats is not None:
            files += exports(files, formats, calibrate, Path(folder))
        found = contenders(files, engine or [], counts, precisions, on_missing=lambda error: print_warning(str(error)))
        picture = None if data is None else _first_picture(files[0], data, split)
        with counting("bench", "rounds") as update:
            rows = measure(found, runs=runs, picture=picture, progress=update)
        if data is not None:
            rows = _with_accuracy(rows, found, data, split, limit)
        rows = [replace(row, file=str(_shown(Path(row.file), Path(folder)))) for row in rows]
    if plot is not None:
        from hswish.bench.figure import latency_accuracy

        latency_accuracy(rows, plot)
        print_note(f"wrote {plot}")
    about = machine([row.engine for row in rows])
    if json_:
        print_json({"machine": about, "rows": [asdict(row) for row in rows]})
    else:
        _print(rows)
        print_note(f"{about['processor']}, {about['cores']} cores; one picture at a time")


def _shown(file: Path, folder: Path) -> Path:
    """A file that was made for the measurement by its name alone."""
    return Path(file.name) if file.is_relative_to(folder) else file


def _threads(text: str) -> list[int]:
    from hswish.spec.cores import available_cores

    found = [available_cores() if part.strip() == "all" else part.strip() for part in text.split(",")]
    if not all(str(part).isascii() and str(part).isdigit() and 1 <= int(part) <= 256 for part in found):
        raise OptionError(f"--threads takes numbers from 1 to 256 and all, as in 1,all; not {text!r}")
    return list(dict.fromkeys(int(part) for part in found))


def _first_picture(model: Path, data: str, split: str) -> Image.Image:
    """What the files are timed on: a picture of the data, so that their answers can be compared."""
    from hswish.runtime import open_engine

    source = open_as_trained(data, model, open_engine(model).description)
    for picture in source.readable(source.items(split)):  # the measurement of accuracy lists the others
        return picture
    raise DataError(f"{source.location}: none of the pictures of {split} can be read")


def _with_accuracy(rows: list[Row], found: list[Contender], data: str, split: str, limit: int | None) -> list[Row]:
    """The rows with top-1 or mIoU, measured once for each file, engine and precision."""
    from hswish.evaluate import evaluate
    from hswish.runtime import open_engine

    scores: dict[tuple[Path, str, str | None], float] = {}
    keys = [(contender.path, contender.engine, contender.precision) for contender in found]
    for path, engine, precision in dict.fromkeys(keys):
        runner = open_engine(path, engine, precision=precision)
        source = open_as_trained(data, path, runner.description, quiet=True)
        with counting(f"{path.name} in {engine}", "pictures") as update:
            scores[path, engine, precision] = evaluate(runner, source, split, limit=limit, progress=update).headline[1]
    return [replace(row, accuracy=scores[key]) for row, key in zip(rows, keys, strict=True)]


def _print(rows: list[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "engine", "precision", box=None)
    for column in ("threads", "cold ms", "median ms", "p95 ms", "memory MB", "size MB", "difference", "accuracy"):
        table.add_column(column, justify="right")
    paths = {row.file for row in rows}
    named_alike = len({Path(path).name for path in paths}) < len(paths)
    for row in rows:
        table.add_row(
            Text(printable(row.file if named_alike else Path(row.file).name)),
            row.engine,
            row.precision,
            str(row.threads),
            f"{row.cold_ms:.0f}",
            f"{row.median_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.memory_bytes / 1e6:.0f}",
            f"{row.bytes / 1e6:.2f}",
            f"{row.difference:.1e}",
            "-" if row.accuracy is None else f"{row.accuracy:.4f}",
        )
    stdout().print(table)
