"""`hswish bench --formats`: a model's exports, made for the measurement alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hswish.cli.console import print_note, print_warning
from hswish.cli.evaluating import open_as_trained
from hswish.spec.errors import MissingPackageError, OptionError, ParityError

if TYPE_CHECKING:
    from hswish.export.int8 import Int8Settings
    from hswish.export.job import Writer
    from hswish.models.described import DescribedModule

_MODEL_SUFFIX = ".safetensors"
_PICTURES = 4
"""noise, on which each file is proved equal; what it scores is told by --data"""


def exports(files: Sequence[Path], formats: str, calibrate: str | None, folder: Path) -> list[Path]:
    """Every hswish model among `files` in each format, in float32 and, where `calibrate` names data, in 8 bits.

    A format that is not installed, or cannot do it, is told in one line and left out.

    Args:
        formats: by commas; `all`: every format that runs here.
        folder: where they are written.

    Raises:
        OptionError: an unknown format, one that nothing here runs, or no hswish model among the files.
        DataError: `calibrate` is no data set for the models.
    """
    from hswish.export.formats import FORMATS, writers
    from hswish.models import load

    models = [file for file in files if file.suffix == _MODEL_SUFFIX]
    if not models:
        raise OptionError(
            f"--formats exports hswish models (a {_MODEL_SUFFIX} file or a name); none is among these files"
        )
    if formats == "all":
        found = [writer for writer in writers((*FORMATS, "native")) if writer.engine is not None]
    else:
        found = writers(name.strip() for name in formats.split(",") if name.strip())
        _check(found, calibrate is not None)
    in_float = [writer.name for writer in found if not writer.why_only_int8]
    in_8_bits = [writer.name for writer in found if writer.scheme is not None and calibrate is not None]
    made: list[Path] = []
    for place, file in enumerate(models):
        network, stem = load(file), folder / str(place) / file.stem
        if in_float:
            made += _in_float(network, in_float, stem)
        if in_8_bits:
            made += _in_8_bits(network, in_8_bits, stem, _settings(file, network, str(calibrate)))
    return made


def _check(found: Sequence[Writer], calibrated: bool) -> None:
    """Refuse formats named one by one of which nothing can be timed; tell those that have no 8 bits."""
    for writer in found:
        if writer.engine is None:
            raise OptionError(f"nothing on this system runs {writer.name}; leave it out of --formats")
        if writer.why_only_int8 and not calibrated:
            raise OptionError(f"--formats {writer.name} is made in 8 bits only; add --calibrate DATA")
        if calibrated and writer.scheme is None:
            print_warning(f"{writer.name} has no --int8: {writer.why_no_int8}")


def _in_float(network: DescribedModule, names: Sequence[str], stem: Path) -> list[Path]:
    from hswish.bench.measure import noise
    from hswish.export import export

    proofs = [noise(seed) for seed in range(_PICTURES)]
    return _kept(
        stem,
        lambda keep: export(
            network, names, stem, proofs, progress=lambda name: print_note(f"{name} ..."), finished=keep
        ),
    )


def _in_8_bits(network: DescribedModule, names: Sequence[str], stem: Path, settings: Int8Settings) -> list[Path]:
    from hswish.export.int8 import export_int8

    return _kept(stem, lambda keep: export_int8(network, names, stem, settings, progress=print_note, finished=keep))


def _settings(file: Path, network: DescribedModule, calibrate: str) -> Int8Settings:
    from hswish.export.int8 import Int8Settings

    return Int8Settings(source=open_as_trained(calibrate, file, network.description, quiet=True))


def _kept(stem: Path, run: Callable[[Callable[[Any], object]], object]) -> list[Path]:
    """The files that `run` reports; what became of the others is told."""
    reports: list[Any] = []
    try:
        run(reports.append)
    except (MissingPackageError, OptionError, ParityError) as error:
        print_warning(str(error))
    return [stem.parent / report.file for report in reports]
