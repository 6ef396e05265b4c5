"""The teachers of a run: one, or several at once, who together err less than the best of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hswish.data.source import DataSource
from hswish.models import DescribedModule
from hswish.runtime.foreign import is_foreign
from hswish.train.recipe import Recipe
from hswish.train.teachers.exported import SUFFIX, ExportedTeacher
from hswish.train.teachers.foreign import ForeignTeacher
from hswish.train.teachers.teacher import Teacher


class Teachers(nn.Module):
    """The logarithm of the mean of their probabilities, as logits."""

    def __init__(self, teachers: Sequence[Teacher | ExportedTeacher | ForeignTeacher]) -> None:
        super().__init__()
        self.members = nn.ModuleList(teachers)
        self.on_device = all(teacher.on_device for teacher in teachers)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W), normalised for the student, to logits (N, K) or (N, K, H, W)."""
        answers = torch.stack([teacher(pictures).float().log_softmax(1) for teacher in self.members])
        return answers.logsumexp(0)


AnyTeacher = Teacher | ExportedTeacher | ForeignTeacher | Teachers


def open_teachers(
    files: Sequence[Path], student: DescribedModule, recipe: Recipe, device: torch.device
) -> AnyTeacher | None:
    """The teachers in some files, each a model of ours or another library's `.onnx` or `.pt2`; None: there are none.

    Raises:
        HswishError: no model there, or none for this student.
    """
    halves = recipe.precision == "bf16-mixed"
    native = recipe.kernels == "auto" and device.type == "cpu"

    def opened_one(file: Path) -> Teacher | ExportedTeacher | ForeignTeacher:
        if is_foreign(file):
            return ForeignTeacher.open(file, student, halves=halves)
        if file.suffix.lower() == SUFFIX:
            return ExportedTeacher.open(file, student).to(device)  # so that it is examined where it will answer
        return Teacher.open(file, student, native=native, halves=halves)

    opened = [opened_one(file) for file in files]
    return Teachers(opened) if len(opened) > 1 else next(iter(opened), None)


def examine(teacher: AnyTeacher | None, source: DataSource, batch_size: int) -> Iterator[str]:
    """A line about each teacher that does not describe itself; see `examined`."""
    for member in teacher.members if isinstance(teacher, Teachers) else [teacher]:
        if isinstance(member, ExportedTeacher | ForeignTeacher):
            yield member.examine(source, batch_size)
