"""`hswish eval`: measures a model on a split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hswish.cli.console import counting, print_json, print_note, print_warning, printable, stdout
from hswish.cli.evaluating import open_as_trained
from hswish.cli.locating import MODEL_HELP, locate_model
from hswish.spec.errors import ModelFileError, OptionError, SaveError

if TYPE_CHECKING:
    from hswish.data import DataSource
    from hswish.evaluate import Evaluation, Suspects
    from hswish.runtime import Engine

_LARGEST_MATRIX = 20
"""Classes up to which the confusion matrix is printed; `--confusion` draws any."""


def eval_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    data: Annotated[str, typer.Argument(help="Folder, .zip, shards or built-in data set.", show_default=False)],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure so many pictures, evenly spaced.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Reading threads.")] = None,
    engine: Annotated[str | None, typer.Option(help="What runs the model; the best one here by default.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="bfloat16: faster on some processors, less exact; native engine only.")
    ] = None,
    confusion: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix as a PNG.", show_default=False)
    ] = None,
    suspects: Annotated[
        int, typer.Option(min=0, help="Draw and list so many pictures that are most confidently wrong.")
    ] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for suspects.png and suspects.json.")] = Path(),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object; figures are fractions.")] = False,
) -> None:
    """Measure a model: top-1 and top-5, or mIoU and pixel accuracy, per class.

    [bold]Examples[/bold]

      hswish eval runs/digits/best.safetensors digits --split test

      hswish eval best.safetensors pictures/ --split val --confusion confusion.png

      hswish eval best.safetensors camvid.zip --split test --json

      hswish eval best.safetensors pictures/ --split train --suspects 48
    """
    from hswish.data import check_outside
    from hswish.evaluate import Suspects, evaluate
    from hswish.evaluate.figures import check_drawing, confusion_picture
    from hswish.runtime import open_engine
    from hswish.runtime.engine import interface_of

    if confusion is not None:
        check_drawing()
        check_outside(confusion, data, "--confusion")
    if suspects:
        check_outside(out, data)
    file = locate_model(model)
    runner = open_engine(file, engine, precision=precision)
    source = open_as_trained(data, file, runner.description)
    if suspects and interface_of(runner).gives == "mask":
        raise OptionError(
            f"--suspects needs confidences, and {model} answers masks: give the model that it was made of"
        )
    watch = Suspects(runner.description.classes, suspects) if suspects else None
    with counting(split, "pictures") as update:
        try:
            evaluation = evaluate(
                runner, source, split, batch_size=batch_size, workers=workers, limit=limit, progress=update, watch=watch
            )
        except ModelFileError as error:  # found in the model's answers, which know of no file
            raise ModelFileError(f"{model}: {error}") from error
    for name, reason in evaluation.skipped:
        print_warning(f"skipped {name}: {reason}")
    if confusion is not None:
        confusion_picture(evaluation, confusion)
    if watch is not None:
        _write_suspects(runner, source, split, watch, out)
    if json_:
        print_json(evaluation.to_dict())
    else:
        _print(evaluation)


def _write_suspects(runner: Engine, source: DataSource, split: str, watch: Suspects, out: Path) -> None:
    from hswish.evaluate import suspects_page, suspects_to_list
    from hswish.spec.files import explain_os_error, write_json

    found, page = watch.found(), out / "suspects.png"
    write_json(out / "suspects.json", suspects_to_list(found, source, split))
    if not found:
        try:
            page.unlink(missing_ok=True)  # of another evaluation, which the empty list would contradict
        except OSError as error:
            raise SaveError(f"cannot remove {page}: {explain_os_error(error)}") from error
        print_note(f"no picture of {split} is answered wrongly; {out / 'suspects.json'} is an empty list")
        return
    suspects_page(runner, source, split, found, page)
    print_note(f"{len(found)} label suspects: {page}, {out / 'suspects.json'}")


def _print(evaluation: Evaluation) -> None:
    from rich.table import Table
    from rich.text import Text

    values = evaluation.to_dict()
    console = stdout()
    for key in ("top1", "top5", "miou", "pixel_accuracy"):
        if values.get(key) is not None:
            console.print(f"{key:<15}{values[key]:.4f}")
    console.print(f"{'pictures':<15}{evaluation.count} of {evaluation.split}, {evaluation.seconds:.1f} s")
    table = Table("class", box=None)
    columns = list(next(iter(values["details"].values()), {}))
    for column in columns:
        table.add_column(column, justify="right")
    for name, figures in values["details"].items():
        table.add_row(Text(printable(name)), *[_cell(figures[column]) for column in columns])
    console.print(table)
    if len(evaluation.classes) <= _LARGEST_MATRIX:
        _print_confusion(evaluation.classes, values["confusion"])


def _print_confusion(classes: tuple[str, ...], confusion: list[list[int]]) -> None:
    """The confusion matrix in percent of each true class: rows are the truth, columns the predictions."""
    from rich.table import Table
    from rich.text import Text

    table = Table("truth, in % predicted as", box=None, padding=(0, 1))
    for name in classes:
        table.add_column(Text(printable(name)[:9]), justify="right", no_wrap=True)
    for name, row in zip(classes, confusion, strict=True):
        total = sum(row)
        cells = [f"{100 * count / total:.0f}" if count else "." for count in row]
        table.add_row(Text(printable(name)), *cells)
    stdout().print(table)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
