"""Proof that an exported file answers as the network does, on real pictures, in its own runtime."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hswish.export.job import Job
from hswish.models.engine import TorchEngine
from hswish.quantize.simulate import SimulatedEngine, SimulatedNetwork
from hswish.runtime import Engine, check_logits, run_lent
from hswish.runtime.engine import companions
from hswish.runtime.exported import ExportedEngine, Operator
from hswish.spec.errors import ParityError
from hswish.spec.interface import Precision

_RUNS = 3
"""Timed runs on each picture, after one that warms up."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a file may be from the network it was made of."""

    absolute: float
    """largest difference of a logit that always passes"""
    relative: float
    """the same as a part of the largest logit, where that allows more"""
    pixels: float
    """part of all mask pixels that must be of the same class"""


LIMITS: dict[Precision, Limits] = {
    # float32 itself resolves a logit of 10 to 1e-6; 62 convolutions in another order lose a digit or two.
    "float32": Limits(absolute=1e-4, relative=1e-5, pixels=0.9999),
    "float16": Limits(absolute=1e-2, relative=1e-2, pixels=0.99),
    # Against the network with its weights so rounded, which computes in float32 as well.
    "int8-weights": Limits(absolute=1e-4, relative=1e-5, pixels=0.9999),
}


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """What was measured of one exported file."""

    format: str
    file: str
    runtime: str | None
    """what ran it; None where the format does not run on this machine"""
    pictures: int
    largest_difference: float | None
    """of any logit; None of masks"""
    limit: float | None
    """what `largest_difference` may be"""
    largest_logit: float | None
    agreement: float | None
    """part of the pictures with the same label, or of all mask pixels with the same class"""
    time_ms: float | None
    """median of one picture, preprocessed, on the threads asked for"""
    reference_ms: float | None
    """the same of the network in torch"""
    bytes: int
    """of all the format's files together"""
    operators: tuple[Operator, ...]
    """what the runtime makes of it"""

    @property
    def slow_operators(self) -> tuple[Operator, ...]:
        """Operators that fell out of the runtime's fast kernels."""
        return tuple(operator for operator in self.operators if operator.accelerated is False)

    @property
    def checked(self) -> str:
        """What is known of the file: its `answers`; or its `structure`, where nothing here runs it."""
        return "structure" if self.runtime is None else "answers"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        slow = [operator.kind for operator in self.slow_operators]
        return {**asdict(self), "checked": self.checked, "slow_operators": slow}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One picture and the network's own answer to it."""

    picture: Image.Image
    logits: NDArray[np.float32]
    """(1, K) or (1, K, h, w)"""
    time_ms: float


def cases_of(job: Job, pictures: Sequence[Image.Image], threads: int | None = None) -> list[Case]:
    """What the network in torch answers, once for all formats; with 8-bit weights, the network so rounded."""
    network = TorchEngine(job.model)
    rounded = None if job.rounded is None else SimulatedEngine(SimulatedNetwork(job.rounded), job.description)
    cases = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        for picture in pictures:
            batch = job.description.preprocess(picture)[None]
            logits, spent = _timed(network, batch)
            logits = logits if rounded is None else rounded.run(batch)
            cases.append(Case(picture=picture, logits=logits, time_ms=statistics.median(spent)))
    finally:
        torch.set_num_threads(before)
    return cases


def prove(job: Job, engine: ExportedEngine, cases: Sequence[Case], *, format: str) -> ParityReport:
    """Run `engine` on the pictures and compare with the network's answers.

    Raises:
        ParityError: they differ by more than `LIMITS` allows.
    """
    description, interface = job.description, job.interface
    differences, same, total = [0.0], 0, 0
    spent: list[float] = []
    for case in cases:
        found, times = _timed(engine, interface.inputs(description, case.picture)[None])
        spent += times
        if interface.gives == "logits":
            check_logits(found, description, 1, str(engine.path))
            differences.append(float(np.abs(found - case.logits).max()))
            found = found.argmax(1)
        agree = found == case.logits.argmax(1)
        same, total = same + int(agree.sum()), total + agree.size
    largest = max(float(np.abs(case.logits).max()) for case in cases)
    limits = LIMITS[interface.precision]
    limit = max(limits.absolute, limits.relative * largest)
    logits = interface.gives == "logits"
    report = ParityReport(
        format=format,
        file=engine.path.name,
        runtime=engine.name,
        pictures=len(cases),
        largest_difference=max(differences) if logits else None,
        limit=limit if logits else None,
        largest_logit=largest,
        agreement=same / total,
        time_ms=statistics.median(spent),
        reference_ms=statistics.median(case.time_ms for case in cases),
        bytes=size_of(engine.path),
        operators=engine.operators(),
    )
    if logits and not max(differences) <= limit:
        raise ParityError(
            f"{format}: its logits differ from the network's by up to {max(differences):.2g}, more than {limit:.2g}; "
            "nothing was written"
        )
    if description.task == "segmentation" and report.agreement is not None and report.agreement < limits.pixels:
        raise ParityError(
            f"{format}: only {report.agreement:.4%} of the mask pixels are the network's, "
            f"fewer than {limits.pixels:.2%}; nothing was written"
        )
    return report


def unproved(path: Path, *, format: str) -> ParityReport:
    """The report of a file that cannot be run on this machine."""
    return ParityReport(
        format=format,
        file=path.name,
        runtime=None,
        pictures=0,
        largest_difference=None,
        limit=None,
        largest_logit=None,
        agreement=None,
        time_ms=None,
        reference_ms=None,
        bytes=size_of(path),
        operators=(),
    )


def size_of(path: Path) -> int:
    """Bytes of a model with the files that share its stem, or of a folder's files."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in companions(path))


def _timed(engine: Engine, batch: Any) -> tuple[NDArray[Any], list[float]]:
    """The answer to `batch`, and the milliseconds of each run but the first."""
    answer, spent = run_lent(engine, batch), []
    for _ in range(_RUNS):
        start = time.perf_counter()
        again = run_lent(engine, batch)
        spent.append(1000 * (time.perf_counter() - start))
        answer = again  # what is timed is what is compared
    return np.asarray(answer), spent
