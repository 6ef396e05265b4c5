"""`hswish train`: trains or fine-tunes a network and keeps the run in a folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hswish.cli.console import print_json, print_line, print_note, print_warning, speaks
from hswish.cli.locating import locate_model
from hswish.cli.options import parse_batch_size, parse_size
from hswish.spec.errors import OptionError

if TYPE_CHECKING:
    from hswish.train import RunResult


def train_command(
    data: Annotated[
        str | None,
        typer.Argument(help="Folder or .zip of pictures, shards, or digits / digit-scenes.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Architecture; see `hswish models`.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/DATA-MODEL-N by default.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe by name, or a .py file; chosen from the data by default.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    batch_size: Annotated[
        str | None, typer.Option(help="Pictures at once; auto: the largest that fits.", show_default=False)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Input size in pixels: 224 (the shorter side) or 360x480 (height x width).")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Model to start from: file, published name, hf://...", show_default=False)
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="Model, or any network in an .onnx or .pt2 file, that teaches this one; repeatable."),
    ] = None,
    on_nan: Annotated[
        str | None, typer.Option(help="stop or skip a step that is not finite; also with --resume.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of weights, order, augmentation and splits.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Only checked: it comes from the data.")] = None,
    width_mult: Annotated[float | None, typer.Option(help="Multiplier of the channel counts.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Rate before the last layer.")] = None,
    output_stride: Annotated[int | None, typer.Option(help="32, 16 or 8.")] = None,
    reduced_tail: Annotated[
        bool | None, typer.Option("--reduced-tail/--full-tail", help="Halve the last stage.", show_default=False)
    ] = None,
    keep_size: Annotated[
        int | None, typer.Option(help="So many of the first strides of 2 become 1: 2 suits pictures of 32 pixels.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Segmentation head: lraspp, official, seed, torchvision, fastseg, raspp.")
    ] = None,
    head_channels: Annotated[int | None, typer.Option(help="Width of the head.")] = None,
    in_channels: Annotated[int | None, typer.Option(help="3, or 1 for grey.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any recipe field, as in --set augment.mirror=0; repeatable.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Loader processes; chosen from the machine by default.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, exactly.", show_default=False)
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard into the run; also with --resume.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the data, draw samples, estimate time and memory, and stop.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train or fine-tune a network.

    [bold]Examples[/bold]

      hswish train digits --model mobilenet_v3_small

      hswish train pictures/ --model mobilenet_v3_large --epochs 30 --out runs/pets

      hswish train camvid.zip --model lraspp_mobilenet_v3_small --recipe segment

      hswish train pictures/ --model mobilenet_v3_large --weights mobilenet_v3_large.tv_in1k_v2 --lr 0.0005

      hswish train pictures/ --model mobilenet_v3_small --teacher large.safetensors

      hswish train pictures/ --model mobilenet_v3_large --dry-run

      hswish train https://data.example.org/shards --model mobilenet_v3_large

      hswish train --resume runs/pets
    """
    _make_ready()
    from hswish.cli.rehearsal import print_rehearsal
    from hswish.cli.training_progress import TrainingProgress
    from hswish.train import Reporters, parse_change
    from hswish.train import dry_run as rehearse_run
    from hswish.train import resume as resume_run
    from hswish.train import train as train_run
    from hswish.train.tensorboard import TensorBoard

    fields = {
        "epochs": epochs,
        "batch_size": parse_batch_size(batch_size),
        "lr": lr,
        "seed": seed,
        "distill.teacher": tuple(teacher) if teacher else None,
    }
    options = {
        "num_classes": num_classes,
        "width_mult": width_mult,
        "dropout": dropout,
        "output_stride": output_stride,
        "reduced_tail": reduced_tail,
        "keep_size": keep_size,
        "head": head,
        "head_channels": head_channels,
        "in_channels": in_channels,
    }
    with TrainingProgress() as progress:
        reporter = Reporters(progress, TensorBoard(print_warning)) if tensorboard else progress
        if resume is not None:
            given = [data, model, out, recipe, weights, set_, size, dry_run or None]
            _refuse_with_resume([*given, *fields.values(), *options.values()])
            result = resume_run(resume, workers=workers, on_nan=on_nan, reporter=reporter)
        else:
            if data is None or model is None:
                raise OptionError("train needs DATA and --model, as in: hswish train digits --model mobilenet_v3_small")
            if weights is not None:
                locate_model(weights)  # fetched now, with a bar; the run remembers the name
            for name in teacher or ():
                locate_model(name)
            changes = dict(parse_change(text) for text in set_ or []) | _given({**fields, "on_nan": on_nan})
            if size is not None:
                changes["height"], changes["width"] = parse_size(size)
            plan: dict[str, Any] = {"recipe": recipe, "changes": changes, "weights": weights, "workers": workers}
            plan |= _given(options)
            if dry_run:
                print_rehearsal(rehearse_run(data, model, out=out or Path(), reporter=reporter, **plan), as_json=json_)
                return
            result = train_run(data, model, out=out or _free_folder(data, model), reporter=reporter, **plan)
    _print_result(result, json_)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Those that the user set."""
    return {name: value for name, value in flags.items() if value is not None}


def _refuse_with_resume(flags: list[Any]) -> None:
    """Raises OptionError: one of them is set."""
    if any(value is not None for value in flags):
        raise OptionError(
            "--resume takes everything from the run; only --workers, --on-nan, --tensorboard and --json go with it"
        )


def _print_result(result: RunResult, as_json: bool) -> None:
    if not speaks():
        return
    if as_json:
        print_json({"run": str(result.run), "best": str(result.best), "epochs": result.epochs, **result.metrics})
        return
    figures = ", ".join(f"{key} {value:.4f}" for key, value in result.metrics.items() if isinstance(value, float))
    print_line(f"best model: {result.best}  ({figures} on val)")
    print_line(f"next:       hswish predict {shlex.quote(str(result.best))} PICTURES...")


def _free_folder(data: str, model: str) -> Path:
    """runs/DATA-MODEL, or the first runs/DATA-MODEL-N that is not taken."""
    stem = Path(data.rstrip("/")).stem or "data"
    number = 1
    while True:
        folder = Path("runs") / f"{stem}-{model}{f'-{number}' if number > 1 else ''}"
        if not folder.exists():
            if speaks():
                print_note(f"run folder: {folder}")
            return folder
        number += 1


def _make_ready() -> None:
    """Set what makes training on a CPU fast, before torch is loaded; docs/log.md has figures."""
    # torch's idle threads spin; here they share the cores with the loaders (and whoever else),
    # which they would keep waiting.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from hswish.train.processor import keep_memory

    keep_memory()
