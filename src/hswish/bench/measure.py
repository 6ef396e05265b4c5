"""Measuring contenders side by side: interleaved rounds, so that a busy machine slows all alike."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hswish.runtime import engines_for, interface_of, open_engine
from hswish.runtime.engine import companions
from hswish.spec.errors import HswishError, MissingPackageError, ModelFileError, OptionError

_ROUNDS = 10
_WARM_UP = 5
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one contender; times are of one picture, preprocessed."""

    file: str
    """the model's path, as it was given"""
    engine: str
    threads: int
    precision: str
    """type that the weights are stored in"""
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
    on_missing: Callable[[HswishError], object] | None = None,
) -> list[Contender]:
    """Every installed engine that opens each file, on each number of threads.

    Args:
        engines: only these; all where empty.
        on_missing: called with the error of each engine that is left out because it is not installed,
            or cannot open a file that another engine opens.

    Raises:
        ModelFileError: a file is no model.
        MissingPackageError: no engine for a file is installed.
        OptionError: none is left.
    """
    found: list[Contender] = []
    for path in paths:
        failed: list[HswishError] = []
        names = [name for name in engines_for(path) if not engines or name in engines]
        for name in names:
            try:
                open_engine(path, name, threads[0])
            except (MissingPackageError, ModelFileError) as error:
                failed.append(error)
            else:
                found += [Contender(path=path, engine=name, threads=count) for count in threads]
        if names and len(failed) == len(names):
            raise failed[0]
        for reason in failed:
            if on_missing is not None:
                on_missing(reason)
    if not found:
        raise OptionError("nothing to measure: no engine is left for these files")
    return found


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
    image = picture or Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8))
    share = max(1, -(-runs // _ROUNDS))
    with tempfile.TemporaryDirectory(prefix="hswish-bench-") as folder, ExitStack() as stack:
        processes = [
            stack.enter_context(_Process(contender, image, Path(folder) / f"{index}"))
            for index, contender in enumerate(found)
        ]
        for process in processes:
            process.run(_WARM_UP)
        times: list[list[float]] = [[] for _ in processes]
        rounds = -(-runs // share)
        for done in range(rounds):
            for spent, process in zip(times, processes, strict=True):
                spent += process.run(share)
            if progress is not None:
                progress(done + 1, rounds)
        return [_row(process, spent, processes) for process, spent in zip(processes, times, strict=True)]


class _Process:
    """A contender's process, from its start to its end."""

    def __init__(self, contender: Contender, image: Image.Image, stem: Path) -> None:
        self.contender = contender
        engine = open_engine(contender.path, contender.engine, contender.threads)
        self.description, self.interface = engine.description, interface_of(engine)
        self.given, self.answer = stem.with_suffix(".in.npy"), stem.with_suffix(".out.npy")
        np.save(self.given, self.interface.inputs(self.description, image)[None])
        self.bytes = 0

    def __enter__(self) -> _Process:
        about = self.contender
        command = [sys.executable, "-m", "hswish.bench.worker", str(about.path), about.engine, str(about.threads)]
        self.process = subprocess.Popen(
            [*command, str(self.given), str(self.answer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(about.threads), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.cold_ms = float(self._hear()["cold_ms"])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def run(self, count: int) -> list[float]:
        """Milliseconds of `count` runs."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is said below
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        heard = self._hear()
        self.bytes = int(heard["bytes"])
        return list(heard["ms"])

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # engines print words of their own
                heard: dict[str, Any] = json.loads(line)
                if "error" in heard:
                    raise HswishError(heard["error"])
                return heard
        status = self.process.wait()
        raise HswishError(
            f"{self.contender.path}: {self.contender.engine} ended with status {status} while it was timed"
        )


def _row(process: _Process, spent: list[float], processes: Sequence[_Process]) -> Row:
    first = next(other for other in processes if other.description.model == process.description.model)
    return Row(
        file=str(process.contender.path),
        engine=process.contender.engine,
        threads=process.contender.threads,
        precision=process.interface.precision,
        cold_ms=process.cold_ms,
        median_ms=statistics.median(spent),
        p95_ms=float(np.percentile(spent, 95)),
        runs=len(spent),
        memory_bytes=process.bytes,
        bytes=sum(file.stat().st_size for file in companions(process.contender.path)),
        difference=_difference(np.load(process.answer), np.load(first.answer)),
    )


def _difference(answer: Any, other: Any) -> float:
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
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
