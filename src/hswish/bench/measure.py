"""Measuring contenders side by side: interleaved rounds, so that a busy machine slows all alike."""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hswish.bench.process import Timed, take_turns
from hswish.runtime import Engine, engines_for, interface_of, open_engine
from hswish.runtime.engine import companions, engine_names
from hswish.spec.cores import available_cores
from hswish.spec.errors import HswishError, MissingPackageError, ModelFileError, OptionError, unknown_name

_PACKAGES = {
    "native": "hswish",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai-edge-litert",
    "executorch": "executorch",
    "ncnn": "ncnn",
    "torch": "torch",
}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One model file in one engine on so many threads."""

    path: Path
    engine: str
    threads: int
    precision: str | None = None
    """what the engine is asked to compute in; None: it has no choice, or it was not asked"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one contender; times are of one picture, preprocessed."""

    file: str
    """the model's path, as it was given"""
    engine: str
    threads: int
    precision: str
    """type that the weights are stored in, or that was asked for"""
    cold_ms: float
    """from loading the engine's library to the first answer, in a fresh process"""
    median_ms: float
    p95_ms: float
    runs: int
    memory_bytes: int
    """what the process grew by at most, library included"""
    bytes: int
    """the model's files"""
    difference: float
    """largest difference of its answer from the first contender's of the same architecture"""
    accuracy: float | None = None
    """top-1 or mIoU, where data was given"""


def contenders(
    paths: Sequence[Path],
    engines: Sequence[str],
    threads: Sequence[int],
    precisions: Sequence[str] = (),
    on_missing: Callable[[HswishError], object] | None = None,
) -> list[Contender]:
    """Every installed engine that opens each file, on each number of threads.

    Args:
        engines: only these; all where empty.
        precisions: what engines that have a choice are to compute in; others compute in what their file says.
        on_missing: called with the error of each engine that is left out because it is not installed, or cannot
            open a file that another engine opens, and of each file that none of `engines` runs.

    Raises:
        ModelFileError: a file is no model.
        MissingPackageError: no engine for a file is installed.
        OptionError: no engine of that name, none is left, or none can compute in these `precisions`.
    """
    for name in engines:
        if name not in engine_names():
            raise unknown_name("engine", name, engine_names())
    found: list[Contender] = []
    for path in paths:
        failed: list[HswishError] = []
        names = [name for name in engines_for(path) if not engines or name in engines]
        if not names and on_missing is not None:
            on_missing(OptionError(f"{path}: left out, {' and '.join(engines)} cannot run it"))
        for name in names:
            try:
                choices = _choices(open_engine(path, name, threads[0]), precisions)
                for precision in filter(None, choices):
                    open_engine(path, name, threads[0], precision)
            except (MissingPackageError, ModelFileError) as error:
                failed.append(error)
            else:
                found += [
                    Contender(path=path, engine=name, threads=count, precision=precision)
                    for precision in choices
                    for count in threads
                ]
        if names and len(failed) == len(names):
            raise failed[0]
        for reason in failed:
            if on_missing is not None:
                on_missing(reason)
    if not found:
        raise OptionError("nothing to measure: no engine is left for these files")
    if precisions and not any(contender.precision for contender in found):
        open_engine(found[0].path, found[0].engine, precision=precisions[0])  # refuses, and says why
    return found


def _choices(engine: Engine, precisions: Sequence[str]) -> list[str | None]:
    """What an engine is asked to compute in; None: in what its file says."""
    has_choice = getattr(engine, "precision", None) in getattr(engine, "precisions", ())
    return [*precisions] if has_choice and precisions else [None]


def measure(
    found: Sequence[Contender],
    *,
    runs: int = 50,
    picture: Image.Image | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """Time every contender, a few runs of each in turn.

    Args:
        runs: timed runs of each.
        picture: what they look at; noise by default.
        progress: called with (rounds done, rounds in all).

    Raises:
        HswishError: a contender failed, or answered differently while it was timed.
    """
    image = picture or noise()
    with tempfile.TemporaryDirectory(prefix="hswish-bench-") as folder:
        processes = [timed(contender, image, Path(folder) / f"{index}") for index, contender in enumerate(found)]
        take_turns(processes, runs, progress)
        answers = [np.load(process.answer) for process in processes]
    engines = [open_engine(contender.path, contender.engine, precision=contender.precision) for contender in found]
    models = [engine.description.model for engine in engines]
    return [
        Row(
            file=str(contender.path),
            engine=contender.engine,
            threads=contender.threads,
            precision=contender.precision or interface_of(engine).precision,
            cold_ms=process.cold_ms,
            median_ms=statistics.median(process.spent_ms),
            p95_ms=float(np.percentile(process.spent_ms, 95)),
            runs=len(process.spent_ms),
            memory_bytes=process.memory_bytes,
            bytes=sum(file.stat().st_size for file in companions(contender.path)),
            difference=difference(answer, answers[models.index(engine.description.model)]),
        )
        for contender, engine, process, answer in zip(found, engines, processes, answers, strict=True)
    ]


def noise(seed: int = 0) -> Image.Image:
    """A picture of nothing, 640x480."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (480, 640, 3)).astype(np.uint8))


def timed(contender: Contender, image: Image.Image, stem: Path) -> Timed:
    """The process that times a contender on `image`; what goes in and out lies in files named after `stem`."""
    engine = open_engine(contender.path, contender.engine, contender.threads, contender.precision)
    given, answer = stem.with_suffix(".in.npy"), stem.with_suffix(".out.npy")
    np.save(given, interface_of(engine).inputs(engine.description, image)[None])
    about = [str(contender.path), contender.engine, str(contender.threads)]
    asked = [contender.precision] if contender.precision else []
    return Timed(
        title=f"{contender.path}: {contender.engine}",
        command=[sys.executable, "-m", "hswish.bench.worker", *about, str(given), str(answer), *asked],
        answer=answer,
        threads=contender.threads,
    )


def difference(answer: Any, other: Any) -> float:
    """Largest difference of logits; of masks, the part of the pixels that differ; nan where they cannot be compared."""
    if answer.shape != other.shape or answer.dtype != other.dtype:
        return float("nan")
    if answer.dtype == np.uint8:
        return float(np.mean(answer != other))
    return float(np.abs(answer - other).max())


def machine(engines: Sequence[str]) -> dict[str, Any]:
    """What the figures belong to: processor, cores, system, versions."""
    versions = {"python": platform.python_version()}
    for engine in dict.fromkeys(engines):
        try:
            versions[engine] = version(_PACKAGES.get(engine, engine))
        except PackageNotFoundError:
            versions[engine] = "unknown"
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "system": platform.platform(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
