"""A teacher that another library made: a network in an ONNX file.

Such a file knows neither its classes nor how its pictures were made. So it sees the student's own,
normalised as for the student, answers in the student's order of classes, and is examined on pictures of val
before anyone learns from it: one with other classes, or used to other pictures, does no better than chance.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.data.source import DataSource
from hswish.evaluate import evaluate
from hswish.models import DescribedModule
from hswish.runtime.foreign import ForeignEngine
from hswish.spec.errors import OptionError

_EXAMINED = 500
"""pictures of val"""


class ForeignTeacher(nn.Module):
    """Logits for a student's batch, answered by the processor wherever the student is.

    Args:
        engine: with the student's description.
    """

    on_device = False
    """as `Teacher.on_device`"""

    def __init__(self, engine: ForeignEngine) -> None:
        super().__init__()
        self.engine = engine

    @classmethod
    def open(cls, path: str | Path, student: DescribedModule, *, halves: bool = False) -> ForeignTeacher:
        """The teacher in an `.onnx` file; see `ForeignEngine.open`."""
        threads, description = torch.get_num_threads(), student.description
        return cls(ForeignEngine.open(Path(path), threads, description=description, halves=halves))

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W), normalised for the student, to logits (N, K) or (N, K, H, W)."""
        logits = torch.from_numpy(self.engine.run(pictures.float().cpu().numpy())).to(pictures.device)
        if logits.ndim == 4 and logits.shape[-2:] != pictures.shape[-2:]:
            logits = F.interpolate(logits, pictures.shape[-2:], mode="bilinear")
        return logits

    def examine(self, source: DataSource, batch_size: int) -> str:
        """A line that says how well it does on pictures of val.

        Raises:
            OptionError: no better than chance.
        """
        engine, description = self.engine, self.engine.description
        measured = evaluate(engine, source, "val", batch_size=batch_size, limit=_EXAMINED)
        name, score = measured.headline
        result = f"{name} {score:.4f} on {measured.count} pictures of val"
        if not beats_chance(score, len(measured.classes), measured.count):
            order = ", ".join(measured.classes[:4]) + (", ..." if len(measured.classes) > 4 else "")
            raise OptionError(
                f"{engine.path}: a teacher no better than chance ({result}); its outputs must be {order} in this "
                f"order, its pictures {description.preprocess.channels} of mean {description.preprocess.mean} "
                f"and deviation {description.preprocess.std}"
            )
        return f"teacher {engine.path.name}: {result}, run by {engine.name}"


def beats_chance(score: float, classes: int, count: int) -> bool:
    """Whether a score on `count` pictures is more than a standard error above that of guessing."""
    chance = 1 / classes
    return classes == 1 or score > chance + math.sqrt(chance * (1 - chance) / count)
