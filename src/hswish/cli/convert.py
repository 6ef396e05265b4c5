"""`hswish convert`: other libraries' checkpoints to ours, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hswish.cli.console import print_json, print_line, print_note
from hswish.cli.locating import locate_model
from hswish.spec.errors import OptionError

if TYPE_CHECKING:
    from hswish.models import DescribedModule


def convert_command(
    source: Annotated[
        str,
        typer.Argument(
            help="LIBRARY or LIBRARY:NETWORK that the file is from; with --to: the model.", show_default=False
        ),
    ],
    file: Annotated[str | None, typer.Argument(help="The library's checkpoint.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write.")] = None,
    to: Annotated[str | None, typer.Option(help="Library to convert a model of ours to.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file that names the outputs, one a line.")] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Replace the classifier by a new, untrained one of this size.")
    ] = None,
    width_mult: Annotated[
        float | None, typer.Option(help="Multiplier of the channel counts; found by default.")
    ] = None,
    reduced_tail: Annotated[
        bool | None, typer.Option("--reduced-tail/--full-tail", help="Halved last stage; found by default.")
    ] = None,
    dilated: Annotated[
        bool, typer.Option("--dilated", help="torchvision's dilated=True, which no tensor shows.")
    ] = False,
    ema: Annotated[
        bool, typer.Option("--ema/--no-ema", help="Averaged weights, where a training checkpoint has both.")
    ] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn a checkpoint of torchvision, timm, Keras, fastseg or d-li14 into a model file, or a model into theirs.

    Every tensor must fit, in both directions; preprocessing and class names come along.

    [bold]Examples[/bold]

      hswish convert torchvision:mobilenet_v3_large mobilenet_v3_large-5c1a4163.pth -o large.safetensors

      hswish convert timm:tf_mobilenetv3_small_100 model.safetensors -o small.safetensors

      hswish convert torchvision runs/checkpoint.pth --classes names.txt -o mine.safetensors

      hswish convert mine.safetensors --to torchvision -o mine.pth
    """
    if out is None:
        raise OptionError("say where to write with -o, as in: -o model.safetensors")
    wishes = {
        "num_classes": num_classes,
        "classes": classes,
        "width_mult": width_mult,
        "reduced_tail": reduced_tail,
        "output_stride": 16 if dilated else None,
    }
    given = {name: value for name, value in wishes.items() if value is not None}
    if to is not None:
        if file is not None or given or not ema:
            raise OptionError(
                "--to takes a model of ours alone, as in: hswish convert mine.safetensors --to torchvision"
            )
        _to_library(source, to, out, json_)
    else:
        if file is None:
            raise OptionError(f"name a library and its file, as in: hswish convert torchvision {source} -o {out}")
        if "://" in file:
            raise OptionError(f"{file}: FILE is a file on this machine; fetch it first, and name it here")
        _from_library(source, Path(file), out, ema, given, json_)


def _from_library(source: str, file: Path, out: Path, ema: bool, given: dict[str, Any], as_json: bool) -> None:
    from hswish.models import save
    from hswish.models.adapters import convert
    from hswish.spec.labels import read_labels

    if out.suffix != ".safetensors":
        raise OptionError(f"{out}: a model file ends in .safetensors")
    _check_other_file(file, out)
    if "classes" in given:
        given["classes"] = read_labels(given["classes"])
    model = convert(source, file, ema=ema, **given)
    save(model, out)
    if as_json:
        description = model.description
        print_json(
            {
                "out": str(out),
                "model": description.model,
                "options": description.options,
                "classes": list(description.classes),
                "preprocess": description.preprocess.to_dict(),
                "provenance": description.provenance,
            }
        )
        return
    _print(model)
    print_note(f"wrote {out}")


def _print(model: DescribedModule) -> None:
    """What was found in the file, a line each."""
    origin = model.description.provenance["converted_from"]
    weights = f".{origin['weights']}" if origin["weights"] else ""
    averaged = ", averaged weights" if origin["averaged"] else ""
    print_line(f"{origin['library']}:{origin['network']}{weights} from {origin['file']}{averaged}")
    print_line(_made_of(model))
    if origin["new_classifier"]:
        print_line("a new classifier, to be trained")
    shown = ", ".join(model.classes[:3])
    print_line(f"classes: {shown}{', ...' if len(model.classes) > 3 else ''}")


def _made_of(model: DescribedModule) -> str:
    """The network, and what not every library's file tells of it."""
    options = model.architecture.options
    said = [f"{options.num_classes} classes", f"width {options.width_mult:g}", f"output stride {options.output_stride}"]
    said += ["reduced tail"] if options.reduced_tail else []
    return f"{model.architecture.name}: {', '.join(said)}"


def _to_library(name: str, library: str, out: Path, as_json: bool) -> None:
    from hswish.models import load
    from hswish.models.adapters import export_file

    file = locate_model(name)
    _check_other_file(file, out)
    model = load(file)
    network = export_file(model, library, out)
    if as_json:
        print_json({"out": str(out), "library": library, "network": network})
    else:
        print_line(f"{library}:{network}")
        print_line(_made_of(model))
        print_note(f"wrote {out}")


def _check_other_file(file: Path, out: Path) -> None:
    """Neither form of a model holds all that the other does: a conversion in place would lose something."""
    if file.exists() and out.exists() and file.samefile(out):
        raise OptionError(f"{out}: is the file to convert, which would be lost; write to another one")
