"""`hswish export`: writes a model for devices, and proves each file equal to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hswish.cli.console import print_json, print_note, printable, stdout
from hswish.cli.evaluating import open_as_trained
from hswish.cli.export_int8 import print_in_8_bits
from hswish.cli.locating import MODEL_HELP, locate_model
from hswish.cli.options import parse_size
from hswish.spec.errors import DataError, ModelFileError, OptionError, PictureError, unknown_name

if TYPE_CHECKING:
    from PIL import Image

    from hswish.export import ExportOptions, ParityReport
    from hswish.export.int8 import Int8Settings
    from hswish.models.described import DescribedModule
    from hswish.spec.architecture import Task
    from hswish.spec.artifact import Description

_PICTURES = 8
"""on which a file in floats is proved equal"""
_MEDIAPIPE = "MediaPipe Tasks give RGB, all channels scaled alike: for them, add --embed preprocess"
_MEDIAPIPE_MASK = "MediaPipe's ImageSegmenter finds class 0 everywhere in a mask: for it, leave --embed argmax out"


def export_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="onnx, openvino, litert, executorch, ncnn, coreml; native in --int8. Several by commas.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the files; the model's own by default."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Pictures to prove the files on: a data set, a folder, a picture.")
    ] = None,
    pictures: Annotated[
        int | None, typer.Option(min=1, help="How many of them, 8 by default; of --calibrate's with --int8.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Input size: 224 or 360x480; the model's own by default.")] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Any batch, height and width (onnx, openvino).")] = False,
    embed: Annotated[
        list[str] | None,
        typer.Option(help="preprocess: takes uint8 pictures; argmax: gives uint8 masks. May be given twice."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Compute in 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Labelled data: its training split calibrates --int8, its evaluation split judges it."),
    ] = None,
    qat: Annotated[bool, typer.Option("--qat", help="Fine-tune for --int8 by fake quantisation.")] = False,
    allow_drop: Annotated[
        bool, typer.Option("--allow-drop", help="Keep an --int8 file that loses more than half a point.")
    ] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Print what rounding each layer alone does to the --int8 answer.")
    ] = False,
    squeeze: Annotated[
        str | None, typer.Option(help="Squeeze branches of --int8: float or int8; what suits the runtime by default.")
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(min=7, max=8, help="Bits of --int8 weights: by default 8, or 7 where some processors overflow."),
    ] = None,
    int8_weights: Annotated[
        bool, typer.Option("--int8-weights", help="Store the weights in 8 bits, compute in float32.")
    ] = False,
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

      hswish export best.safetensors --format onnx,openvino,litert --int8 --calibrate pictures/
    """
    from hswish.export import ExportOptions, export
    from hswish.models import load

    file = locate_model(model)
    _refuse_exported(file)
    network = load(file)
    height, width = parse_size(size) if size else (None, None)
    options = ExportOptions(
        size=None if height is None else (height, width or height),
        dynamic=dynamic,
        embed=tuple(step for given in embed or () for step in given.split(",") if step),
        half=half,
        int8_weights=int8_weights,
    )
    if int8 and calibrate is None:
        raise OptionError("--int8 looks at real pictures first: name labelled ones with --calibrate DATA")
    if int8 and data is not None:
        raise OptionError("--int8 is measured on the evaluation split of --calibrate; leave --data out")
    if not int8 and (qat or allow_drop or sensitivity or squeeze or calibrate or weight_bits):
        raise OptionError(
            "--calibrate, --qat, --allow-drop, --sensitivity, --squeeze and --weight-bits belong to --int8; add it"
        )
    folder = file.parent if Path(model).exists() else Path()  # a fetched model lies in the cache
    stem = (out or folder) / file.stem
    formats = [name.strip() for name in format_.split(",") if name.strip()]
    with _told(model, stem, json_, print_in_8_bits if int8 else _print) as finished:
        common: dict[str, Any] = {"options": options, "threads": threads, "finished": finished}
        if int8:
            from hswish.export.int8 import export_int8

            settings = _int8_settings(
                str(calibrate), file, network.description, pictures, allow_drop, sensitivity, squeeze, weight_bits, qat
            )
            export_int8(network, formats, stem, settings, progress=print_note, **common)
        else:
            proofs = _pictures(data, network.description.task, pictures or _PICTURES)
            export(network, formats, stem, proofs, progress=lambda name: print_note(f"{name} ..."), **common)
    if not json_ and "litert" in formats:
        for note in _mediapipe_notes(network, options):
            print_note(note)


@contextlib.contextmanager
def _told(
    model: str, stem: Path, json_: bool, show: Callable[[Sequence[Any]], None]
) -> Iterator[Callable[[Any], None]]:
    """Gives what takes the report of each file that is kept; prints them at the end, whatever became of the rest."""
    reports: list[Any] = []
    try:
        yield reports.append
    finally:
        if reports and json_:
            exports = [report.to_dict() for report in reports]
            print_json({"model": model, "folder": str(stem.parent), "exports": exports})
        elif reports:
            show(reports)
            print_note(f"wrote {stem.parent}{os.sep}{', '.join(report.file for report in reports)}")


def _refuse_exported(file: Path) -> None:
    """What an export wrote is no damaged model, but none that another file could be made from.

    Raises:
        ModelFileError: it has the ending of such a file.
    """
    from hswish.export.formats import FORMATS, writer

    ending = file.suffix.lower()
    if ending == ".safetensors" or not file.exists():
        return
    if ending in {Path(f"model{writer(name).suffix}").suffix for name in FORMATS}:
        raise ModelFileError(
            f"{file}: an exported file already; export the model that it was made from, "
            "a .safetensors file or a name of `hswish models`"
        )


def _mediapipe_notes(network: DescribedModule, options: ExportOptions) -> Iterator[str]:
    """What keeps a `.tflite` file from MediaPipe Tasks, and what to do."""
    from hswish.export.litert_metadata import suits_mediapipe

    if "preprocess" not in options.embed and not suits_mediapipe(network.preprocess):
        yield _MEDIAPIPE
    if "argmax" in options.embed:
        yield _MEDIAPIPE_MASK


def _int8_settings(
    calibrate: str,
    file: Path,
    description: Description,
    pictures: int | None,
    allow_drop: bool,
    sensitivity: bool,
    squeeze: str | None,
    weight_bits: int | None,
    qat: bool,
) -> Int8Settings:
    from hswish.export.int8 import Int8Settings
    from hswish.quantize.finetune import Finetuning

    if squeeze not in (None, "float", "int8"):
        raise unknown_name("--squeeze", squeeze, ("float", "int8"))
    return Int8Settings(
        source=open_as_trained(calibrate, file, description, quiet=True),  # the network has seen the other pictures
        pictures=pictures,
        allow_drop=allow_drop,
        sensitivity=sensitivity,
        squeeze=squeeze,  # type: ignore[arg-type]
        weight_bits=weight_bits,  # type: ignore[arg-type]
        tuning=Finetuning() if qat else None,
    )


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
        pictures = []
        for named in evenly(found, count):
            with contextlib.suppress(PictureError):
                pictures.append(named.read())
    else:
        split = next(split for split in ("val", "test", *source.splits) if split in source.splits)
        pictures = list(source.readable(evenly(source.items(split), count)))
    if not pictures:
        raise DataError(f"{data}: none of {count} pictures can be read; choose others by --data")
    return pictures


def _print(reports: Sequence[ParityReport]) -> None:
    """One table of the files, one of what each runtime makes of them."""
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    table = Table("file", "runtime", box=None)
    for column in ("largest difference", "allowed", "agreement", "ms", "torch ms", "MB"):
        table.add_column(column, justify="right")
    for report in reports:
        table.add_row(
            Text(printable(report.file)),
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
        if report.checked == "structure":
            console.print(
                f"{report.format}: nothing on this system runs it; the file was read back, and what stands in it, "
                "computed by hswish, gives the network's answers",
                markup=False,
            )
        if report.operators:
            steps = ", ".join(f"{step.count} {step.kind} {step.dtype}".rstrip() for step in report.operators)
            slow = ", ".join(dict.fromkeys(step.kind for step in report.slow_operators))
            console.print(f"{report.format}: {steps}", markup=False)
            console.print(f"  outside the fast kernels: {slow or 'none'}", markup=False)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
