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
    from hswish.models.described import DescribedModule

MODEL_SUFFIX = ".safetensors"
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

    models = [file for file in files if file.suffix == MODEL_SUFFIX]
    if not models:
        raise OptionError(
            f"--formats exports hswish models (a {MODEL_SUFFIX} file or a name); none is among these files"
        )
    given = [name.strip() for name in formats.split(",") if name.strip()]
    found = [writer for writer in writers(FORMATS if given == ["all"] else given) if writer.engine or given != ["all"]]
    if idle := [writer.name for writer in found if writer.engine is None]:
        raise OptionError(f"nothing on this system runs {idle[0]}; leave it out of --formats")
    in_8_bits = [writer.name for writer in found if writer.scheme is not None]
    made: list[Path] = []
    for place, file in enumerate(models):
        network, stem = load(file), folder / str(place) / file.stem
        made += _in_float(network, [writer.name for writer in found], stem)
        if calibrate is not None:
            settings = _settings(file, network, calibrate)
            made += _in_8_bits(network, [*in_8_bits, *(["native"] if given == ["all"] else [])], stem, settings)
    return made


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
