"""What 8 bits cost and give in one runtime: accuracy and speed beside float32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.quantize.sensitivity import LayerError
from hswish.runtime import Engine, run_lent
from hswish.runtime.exported import Operator

ALLOWED = 0.005
"""Largest part of top-1 or of mIoU that may be lost."""
_ROUNDS = 12
_RUNS = 3
INTEGER_TYPES = ("int8", "uint8", "int32")


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """What was measured of one file in 8 bits."""

    format: str
    file: str
    runtime: str | None
    """what ran it; None where only the simulated network was measured"""
    metric: str
    """top1 or miou"""
    split: str
    pictures: int
    """of the split"""
    float_score: float
    """of the same format in float32, in the same runtime"""
    score: float
    simulated: float
    """what the simulator foretold"""
    calibration: int
    """pictures that it was calibrated on"""
    kept: tuple[str, ...]
    """layers left in float32 because rounding them costs most"""
    sensitivity: tuple[LayerError, ...]
    """every layer rounded alone, the worst first; empty where nobody asked"""
    tuned: int
    """steps of fine-tuning"""
    float_ms: float | None
    """median of one picture, runs of both files in turn"""
    time_ms: float | None
    float_bytes: int
    bytes: int
    operators: tuple[Operator, ...]

    @property
    def drop(self) -> float:
        """What was lost, as a fraction."""
        return self.float_score - self.score

    @property
    def speedup(self) -> float | None:
        """How many times faster than float32; None where nothing ran."""
        return self.float_ms / self.time_ms if self.float_ms and self.time_ms else None

    @property
    def blamed(self) -> tuple[Operator, ...]:
        """Operators that are known to compute in other types than integers, or outside the runtime's fast kernels."""
        integer = (*INTEGER_TYPES, "")
        return tuple(step for step in self.operators if step.dtype not in integer or step.accelerated is False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **asdict(self),
            "drop": self.drop,
            "speedup": self.speedup,
            "blamed": [step.kind for step in self.blamed],
        }


def times_ms(engines: Sequence[Engine], batches: Sequence[NDArray[Any]]) -> list[float]:
    """Median milliseconds of each engine on its own batch, a few runs of each in turn, as a predictor runs it."""
    spent: list[list[float]] = [[] for _ in engines]
    for _ in range(_ROUNDS):
        for times, engine, batch in zip(spent, engines, batches, strict=True):
            run_lent(engine, batch)  # back into the caches
            for _ in range(_RUNS):
                start = time.perf_counter()
                answer = run_lent(engine, batch)
                times.append(1000 * (time.perf_counter() - start))
                assert np.isfinite(answer).all()
    return [statistics.median(times) for times in spent]
