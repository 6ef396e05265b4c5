"""A teacher that another library made: a network in an ONNX file.

It sees the student's own pictures, normalised as for the student, and answers in the student's order of
classes; see `examined`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hswish.data.source import DataSource
from hswish.models import DescribedModule
from hswish.runtime.foreign import ForeignEngine
from hswish.train.teachers.examined import examined
from hswish.train.teachers.teacher import at_size_of


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
        return at_size_of(pictures, logits)

    def examine(self, source: DataSource, batch_size: int) -> str:
        """See `examined`."""
        return examined(self.engine, source, batch_size)
