"""Exporting: a model file to files for a device, each proved equal before it is put in place.

trace -> embed -> write aside -> prove in its own runtime -> put in place
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from hswish.export.formats import writers
from hswish.export.job import Job, Writer
from hswish.export.parity import Case, ParityReport, cases_of, prove, unproved
from hswish.export.trace import embed, trace
from hswish.models.described import DescribedModule
from hswish.quantize.pipeline import weights_only
from hswish.runtime import open_engine
from hswish.runtime.exported import ExportedEngine, LacksOperatorError
from hswish.spec.artifact import Description
from hswish.spec.errors import (
    HswishError,
    MissingPackageError,
    ModelFileError,
    OptionError,
    ParityError,
    SaveError,
    unknown_name,
)
from hswish.spec.files import explain_os_error
from hswish.spec.interface import Interface

_Report = TypeVar("_Report")
EMBEDDED = ("preprocess", "argmax")
"""Steps that may become part of the file."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What an exported file takes and gives.

    Raises:
        OptionError: a value is out of range.
    """

    size: tuple[int, int] | None = None
    """(height, width) of the input in pixels; None: the model's own preprocessing"""
    dynamic: bool = False
    """any batch, height and width"""
    embed: tuple[str, ...] = ()
    """`preprocess`: takes uint8 pictures; `argmax`: gives uint8 masks"""
    half: bool = False
    """weights are stored as float16, which halves the file"""
    int8_weights: bool = False
    """weights are stored in 8 bits, which quarters the file; everything computes in float32"""

    def __post_init__(self) -> None:
        for step in self.embed:
            if step not in EMBEDDED:
                raise unknown_name("embedded step", step, EMBEDDED)
        if self.half and self.int8_weights:
            raise OptionError("--half and --int8-weights are two types of one weight; give one of them")
        if self.size is not None and not all(1 <= side <= 16384 for side in self.size):
            raise OptionError(f"an input has 1 to 16384 pixels a side, not {self.size[0]}x{self.size[1]}")


def export(
    model: DescribedModule,
    formats: Sequence[str],
    stem: Path,
    pictures: Sequence[Image.Image],
    *,
    options: ExportOptions | None = None,
    threads: int | None = None,
    progress: Callable[[str], object] | None = None,
    finished: Callable[[ParityReport], object] | None = None,
) -> list[ParityReport]:
    """Write `model` in each format as `stem` with the format's ending, and prove each file equal.

    Args:
        pictures: real ones, RGB, on which the files are compared with the network.
        threads: processor threads of the runtimes, and of torch beside them.
        progress: called with the name of each format before it is written.
        finished: called with the report of each file once it is in its place.

    Raises:
        ParityError: a file does not answer as the network does; none of that format stays behind, the others are
            written all the same.
        OptionError: a format cannot do what is asked, with the reason.
        MissingPackageError: a format's package is not installed.
        SaveError: the disk is full or the folder not writable.
    """
    options = options or ExportOptions()
    if not pictures:
        raise OptionError("an export is proved on pictures; give at least one")
    job = make_job(model, options)
    found = writers(formats)
    for writer in found:  # before anything is written
        writer.check(job)
    cases = cases_of(job, pictures, threads)

    def make(writer: Writer) -> ParityReport:
        if progress is not None:
            progress(writer.name)
        return _export_one(writer, job, stem, cases, threads)

    return each_of(found, make, finished)


def each_of(
    found: Sequence[Writer], make: Callable[[Writer], _Report], finished: Callable[[_Report], object] | None
) -> list[_Report]:
    """What `make` gives for each format; a format that fails keeps no other one from being made.

    Raises:
        HswishError: that of the format which failed, or one that names all where several did.
        SaveError: at once, for the next one could not be saved either.
    """
    reports: list[_Report] = []
    errors: list[HswishError] = []
    for writer in found:
        try:
            reports.append(make(writer))
        except SaveError:
            raise
        except HswishError as error:
            errors.append(error)
            continue
        if finished is not None:
            finished(reports[-1])
    if len(errors) > 1:
        raise ParityError("; ".join(map(str, errors))) from errors[0]
    if errors:
        raise errors[0]
    return reports


def make_job(model: DescribedModule, options: ExportOptions) -> Job:
    """The operations of `model` with everything that is embedded, and what the files say about themselves."""
    description = _fitted(model.description, options)
    size = (description.preprocess.height, description.preprocess.width)
    pixels, mask = "preprocess" in options.embed, "argmax" in options.embed
    plain = trace(model, size)
    graph = embed(plain, description.preprocess if pixels else None, mask)
    interface = Interface(
        takes="pixels" if pixels else "normalised",
        gives="mask" if mask else "logits",
        size=None if options.dynamic else size,
        precision="int8-weights" if options.int8_weights else "float16" if options.half else "float32",
    )
    return Job(
        model=model.eval(),
        graph=graph,
        description=description,
        interface=interface,
        quantized=weights_only(graph) if options.int8_weights else None,
        rounded=weights_only(plain) if options.int8_weights else None,
    )


def _fitted(description: Description, options: ExportOptions) -> Description:
    """The description with preprocessing that makes the inputs that the file will take."""
    preprocess = description.preprocess
    if options.size is not None:
        preprocess = replace(preprocess, height=options.size[0], width=options.size[1])
    if not options.dynamic and preprocess.resize == "shorter":
        preprocess = replace(preprocess, resize="stretch")  # a fixed size leaves no shape to be kept
    return replace(description, preprocess=preprocess)


def _export_one(writer: Writer, job: Job, stem: Path, cases: Sequence[Case], threads: int | None) -> ParityReport:
    """Write aside, prove, and only then move into place."""
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=stem.parent) as aside:
            path = Path(aside) / f"{stem.name}{writer.suffix}"
            with just_written(path, stem.parent / path.name, writer):
                writer.write(job, path)
                if writer.engine is None:
                    report = _worked_out(job, writer, path, cases)
                else:
                    engine = open_engine(path, writer.engine, threads)
                    assert isinstance(engine, ExportedEngine)
                    report = prove(job, engine, cases, format=writer.name)
            put_in_place(Path(aside), stem.parent)
    except OSError as error:
        raise SaveError(f"cannot save {stem}{writer.suffix}: {explain_os_error(error)}") from error
    return report


def _worked_out(job: Job, writer: Writer, path: Path, cases: Sequence[Case]) -> ParityReport:
    """The report of a file that no runtime here runs: it was read back, and its steps computed by hswish itself.

    Neither a runtime nor its times and operators are told, for there was none.

    Raises:
        ParityError: what stands in the file answers otherwise than the network.
    """
    proved = prove(job, writer.read_back(path), cases, format=writer.name)
    return replace(
        unproved(path, format=writer.name),
        pictures=proved.pictures,
        largest_difference=proved.largest_difference,
        limit=proved.limit,
        largest_logit=proved.largest_logit,
        agreement=proved.agreement,
    )


@contextlib.contextmanager
def just_written(path: Path, target: Path, writer: Writer) -> Iterator[None]:
    """What a runtime has against `path`, which hswish wrote a moment ago and nobody damaged, said of `target`.

    Raises:
        MissingPackageError: the runtime is not installed.
        ParityError: it does not open or run the file, with its own reason.
        ModelFileError: what else is wrong.
    """
    try:
        yield
    except MissingPackageError as error:
        purpose = error.purpose.replace(str(path), str(target))
        raise MissingPackageError(error.package, error.extra, purpose) from error
    except ModelFileError as error:
        runtime_error = error.__cause__
        if runtime_error is None or isinstance(error, LacksOperatorError):
            raise type(error)(str(error).replace(str(path), str(target))) from error
        reason = " ".join(str(runtime_error).replace(str(path), target.name).split())[:300]
        runtime = writer.engine or "what reads it back"
        raise ParityError(
            f"{target}: {runtime} here refuses the {writer.name} file that hswish just wrote ({reason}); "
            "nothing was kept; try another version of it, and report this to hswish"
        ) from error


def put_in_place(aside: Path, folder: Path) -> None:
    """Move everything in `aside` into `folder`, over what has the same name there."""
    for made in sorted(aside.iterdir()):
        target = folder / made.name
        if target.is_dir():  # a package is a folder, which no rename replaces
            if not made.is_dir():
                raise SaveError(f"cannot save {target}: a folder stands there; move it away")
            target.replace(aside / f"{made.name}.before")
        made.replace(target)
