"""Several teachers at once: together they err less than the best of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hswish.train.foreign_teacher import ForeignTeacher
from hswish.train.teacher import Teacher


class Teachers(nn.Module):
    """The logarithm of the mean of their probabilities, as logits."""

    def __init__(self, teachers: Sequence[Teacher | ForeignTeacher]) -> None:
        super().__init__()
        self.members = nn.ModuleList(teachers)
        self.on_device = all(teacher.on_device for teacher in teachers)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W), normalised for the student, to logits (N, K) or (N, K, H, W)."""
        answers = torch.stack([teacher(pictures).float().log_softmax(1) for teacher in self.members])
        return answers.logsumexp(0) - torch.tensor(len(answers)).log()


AnyTeacher = Teacher | ForeignTeacher | Teachers
