"""A teacher that another library made: a network in a program that torch exported.

    program = torch.export.export(network, (pictures,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, "big.pt2")

It answers on the student's device, so on a GPU its part of a step is recorded with the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hswish.data.source import DataSource
from hswish.models import DescribedModule
from hswish.runtime.foreign import ForeignEngine
from hswish.spec.artifact import Description
from hswish.spec.errors import ModelFileError
from hswish.train.teachers.examined import examined
from hswish.train.teachers.teacher import at_size_of

SUFFIX = ".pt2"


class ExportedTeacher(nn.Module):
    """Logits for a student's batch.

    Args:
        path: of the file, for messages.
        program: pictures (N, C, H, W), normalised for the student, to logits (N, K) or (N, K, h, w).
        description: the student's.
    """

    on_device = True
    """as `Teacher.on_device`"""

    def __init__(self, path: Path, program: nn.Module, description: Description) -> None:
        super().__init__()
        self.program = program.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.engine = ForeignEngine(path, description, self._infer, "torch")

    @classmethod
    def open(cls, path: str | Path, student: DescribedModule) -> ExportedTeacher:
        """The teacher in a `.pt2` file.

        Raises:
            ModelFileError: missing, or not a program that this torch reads.
        """
        if not Path(path).is_file():
            raise ModelFileError(f"{path}: no such model file")
        try:
            program = torch.export.load(path).module()
        except Exception as error:  # zip, JSON and schema each have their own
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{path}: no program of torch.export.save that this torch reads ({reason})") from error
        return cls(Path(path), program, student.description)

    def train(self, mode: bool = True) -> ExportedTeacher:
        """Left as it was exported, whatever contains it: a program knows no modes."""
        return self

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W), normalised for the student, to logits (N, K) or (N, K, H, W)."""
        return at_size_of(pictures, self.program(pictures))

    def examine(self, source: DataSource, batch_size: int) -> str:
        """See `examined`; a program may also have been exported for one number of pictures alone."""
        preprocess = self.engine.description.preprocess
        for count in (1, 3):
            shape = count, preprocess.channel_count, preprocess.height, preprocess.width
            self.engine.run(np.zeros(shape, np.float32))
        return examined(self.engine, source, batch_size)

    @torch.no_grad()
    def _infer(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        device = next((value.device for value in self.program.state_dict().values()), None)
        answer: NDArray[Any] = self.program(torch.from_numpy(batch).to(device)).float().cpu().numpy()
        return answer
