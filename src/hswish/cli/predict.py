"""`hswish predict`: labels pictures, or draws masks over them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hswish.cli.console import counting, print_json, print_line, print_note, print_warning
from hswish.cli.locating import MODEL_HELP, locate_model
from hswish.spec.errors import DataError, PictureError

if TYPE_CHECKING:
    from hswish.runtime import OutputNames, Result
    from hswish.runtime.named import Named
    from hswish.runtime.sources import Video


def predict_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    sources: Annotated[
        list[str],
        typer.Argument(help="Pictures, folders, globs, .zip files, videos, camera, https://, or - for standard input."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for overlays and masks; predictions/ for segmentation.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Labels to print (of a mask: classes by their share of the pixels); 1, in JSON 5 or all of a mask.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 8,
    engine: Annotated[str | None, typer.Option(help="What runs the model; the best one here by default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Processor threads.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="bfloat16: faster on some processors, less exact; native engine only.")
    ] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Look at the mirror image, too; twice the time.")] = False,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows",
            help="Keep the picture's shape: scale it to the input's shorter side, slide the input along its longer one "
            "(segmentation).",
        ),
    ] = False,
    warm_up: Annotated[
        int,
        typer.Option(min=0, max=1000, help="Runs before the first picture, whose time_ms is then like the others'."),
    ] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object a picture, each on a line.")] = False,
) -> None:
    """Label pictures, or segment them.

    Classification prints labels, and draws them with --out.

    Segmentation writes NAME.overlay.png and the mask NAME.mask.png for each picture.

    Unreadable files are skipped and listed; above 10 % (of videos, where there is nothing else) the exit status is 2.

    [bold]Examples[/bold]

      hswish predict best.safetensors photo.jpg --top 5

      hswish predict mobilenet_v3_large.tv_in1k_v2 photo.jpg

      hswish predict best.safetensors pictures/ 'more/*.png' --json

      hswish predict best.safetensors street.jpg --out drawn/

      hswish predict best.onnx clip.mp4 --batch-size 1 --json

      cat photo.jpg | hswish predict best.safetensors -
    """
    from hswish.runtime import OutputNames, Predictor

    predictor = Predictor(
        locate_model(model), engine, threads, precision=precision, mirror=mirror, windows=windows, warm_up=warm_up
    )
    if out is None and predictor.task == "segmentation":
        out = Path("predictions")
    found, total = _found(sources)
    unit = _unit(found)
    skip = _Skipping(alone=len(found) == 1)
    names = OutputNames("")
    done = 0
    with counting("predict", unit) as update:
        for result in predictor.stream(found, batch_size=batch_size, on_bad=skip):
            try:
                files = _write(result, out, names) if out is not None else {}
            except MemoryError:
                skip(PictureError(result.name, "does not fit into memory with its overlay; scale it down"))
                continue
            if json_:
                print_json({**(result.to_dict(top) if top else result.to_dict()), **files}, indent=None)
            else:
                _print(result, top or 1)
            done += 1
            update(done + skip.bad, total)
    skip.check(done, len(found), unit)
    if out is not None and not json_:
        print_note(f"wrote {out}/")


class _Skipping:
    """What is left out: said as it comes, and an error at the end where it is too much.

    Args:
        alone: there is one picture or one video only, whose own error is the command's.
    """

    def __init__(self, alone: bool) -> None:
        self.alone, self.bad = alone, 0

    def __call__(self, error: PictureError) -> None:
        from hswish.runtime.video import EarlyEndError

        if self.alone:
            raise error
        self.bad += 1
        print_warning(str(error) if isinstance(error, EarlyEndError) else f"skipped {error}")

    def check(self, done: int, sources: int, unit: str) -> None:
        """Refuse where more than a tenth was bad: of the videos where there is nothing else, of the pictures."""
        if unit == "frames":
            count, read = sources, "videos could not be read to their end"
        else:
            count, read = done + self.bad, "files could not be read"
        if self.bad > 0.1 * count:
            raise DataError(f"{self.bad} of {count} {read} (listed above); remove or replace them")


def _found(sources: list[str]) -> tuple[list[Named | Video], int | None]:
    """All pictures at once, so that a wrong path shows before anything is done, and their number.

    Frames come as they are decoded; their number is what the headers say, None where one does not.
    """
    from hswish.runtime.sources import STDIN, Video, expand_path, read_stdin

    given = list(itertools.chain(*(read_stdin() if source == STDIN else [source] for source in sources)))
    found: list[Named | Video] = []
    for source in given:
        found += expand_path(source) if isinstance(source, str) else [source]
    counts = [_frames(item.text) if isinstance(item, Video) else 1 for item in found]
    known = [count for count in counts if count is not None]
    return found, sum(known) if len(known) == len(counts) else None


def _unit(found: list[Named | Video]) -> str:
    """What the sources are counted in."""
    from hswish.runtime.sources import Video

    moving = sum(isinstance(source, Video) for source in found)
    return "frames" if moving == len(found) else "pictures and frames" if moving else "pictures"


def _frames(video: str) -> int | None:
    from hswish.runtime.video import expected_frames

    try:
        return expected_frames(video)
    except PictureError:
        return 1  # which says what is wrong in its turn


def _write(result: Result, out: Path, names: OutputNames) -> dict[str, str]:
    """Save the pictures of one result; returns what was written by kind."""
    from hswish.runtime import SegmentationResult
    from hswish.spec.files import write_aside

    base = out / names(result.relative)
    pictures = {"overlay": result.overlay()}
    if isinstance(result, SegmentationResult):
        pictures["mask"] = result.mask_image()
    files = {}
    for kind, picture in pictures.items():
        path = base.with_name(f"{base.name}.{kind}.png")
        with write_aside(path) as aside:
            picture.save(aside, format="PNG")
        files[kind] = str(path)
    return files


def _print(result: Result, top: int) -> None:
    labels = "  ".join(f"{label} {value:.4f}" for label, value in result.top(top))
    print_line(f"{result.name}  {labels}")
