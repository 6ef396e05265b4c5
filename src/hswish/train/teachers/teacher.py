"""A trained network whose answers another one learns from.

On a processor it answers by the native engine where that was compiled, which takes a third of torch's time.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hswish.models import DescribedModule, load
from hswish.models.block import ConvNormAct
from hswish.runtime.native import NativeEngine
from hswish.runtime.native.library import choose_level, is_present, library
from hswish.spec.errors import OptionError
from hswish.spec.preprocess import Preprocess


class Teacher(nn.Module):
    """Logits for a student's batch, in the student's order of classes.

    The teacher sees the very pictures of the batch, augmentation included, brought to the
    size, mean, deviation and channel order that it was trained with.

    Args:
        opened: makes the engine that answers in the place of `model`.

    Raises:
        OptionError: another task, or other classes.
    """

    on_device = True
    """whether it computes where the student does, so that its part in a step can be recorded"""

    def __init__(
        self,
        model: DescribedModule,
        student: DescribedModule,
        name: str | Path,
        opened: Callable[[], NativeEngine] | None = None,
    ) -> None:
        super().__init__()
        if model.description.task != student.description.task:
            raise OptionError(f"{name}: the teacher is for {model.description.task}; use one of the student's task")
        if sorted(model.classes) != sorted(student.classes):
            other = sorted(set(student.classes) ^ set(model.classes))[:3]
            raise OptionError(f"{name}: the teacher's classes are not the data's ({', '.join(other)} differ)")
        ours, theirs = student.preprocess, model.preprocess
        if (ours.channels == "L") != (theirs.channels == "L"):
            raise OptionError(f"{name}: one of teacher and student sees grey and the other colour; use --in-channels")
        self.model, self._opened = _folded(model.eval()).requires_grad_(False), opened
        self.size = None if theirs.resize == "shorter" else (theirs.height, theirs.width)
        self.scale, self.shift = (nn.Buffer(value) for value in _renormalisation(ours, theirs))
        self.flip = ours.channels != theirs.channels
        self.order = nn.Buffer(torch.tensor([model.classes.index(label) for label in student.classes]))

    @classmethod
    def open(cls, path: str | Path, student: DescribedModule, *, native: bool = False, halves: bool = False) -> Teacher:
        """The teacher in a model file.

        Args:
            native: answer by the native engine where there is one, on as many threads as torch has.
            halves: and in bfloat16 where the processor multiplies it.

        Raises:
            ModelFileError: no model there.
            OptionError: another task, or other classes.
        """
        quick = native and is_present()
        return cls(load(path), student, path, functools.partial(_engine, path, halves) if quick else None)

    @functools.cached_property
    def engine(self) -> NativeEngine | None:
        """Opened for the first batch, when loaders have their cores and torch has the others."""
        return self._opened() if self._opened is not None else None

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode, whatever contains it."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W), normalised for the student, to logits (N, K) or (N, K, H, W)."""
        pictures = pictures * self.scale + self.shift
        if self.flip:
            pictures = pictures.flip(1)
        inputs = pictures
        if self.size is not None and self.size != tuple(pictures.shape[-2:]):
            inputs = F.interpolate(pictures, self.size, mode="bilinear", antialias=True)
        return at_size_of(pictures, self._answers(inputs)[:, self.order])

    def _answers(self, inputs: Tensor) -> Tensor:
        if self.engine is not None:
            return torch.from_numpy(self.engine.run(inputs.float().numpy()))
        answer: Tensor = self.model(inputs.contiguous(memory_format=torch.channels_last))
        return answer


def at_size_of(pictures: Tensor, logits: Tensor) -> Tensor:
    """Logits (N, K), or (N, K, h, w) enlarged to the size of pictures (N, C, H, W)."""
    if logits.ndim == 4 and logits.shape[-2:] != pictures.shape[-2:]:
        logits = F.interpolate(logits, pictures.shape[-2:], mode="bilinear")
    return logits


def _folded(model: DescribedModule) -> DescribedModule:
    """A copy whose batch norms are part of the convolutions before them: where torch answers, a pass less over maps."""
    model = copy.deepcopy(model)
    for unit in [module for module in model.modules() if isinstance(module, ConvNormAct)]:
        unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
        unit.norm = nn.Identity()  # type: ignore[assignment] # of a network that is not trained any more
    return model


def _engine(path: str | Path, halves: bool) -> NativeEngine:
    engine = library("a teacher")
    precision = "bfloat16" if halves and engine.multiplies_halves(choose_level(engine)) else None
    return NativeEngine(path, torch.get_num_threads(), precision)


def _renormalisation(ours: Preprocess, theirs: Preprocess) -> tuple[Tensor, Tensor]:
    """Factor and summand, (C, 1, 1), in the student's channel order: (x std + mean - mean') / std'."""
    order = slice(None, None, -1) if ours.channels != theirs.channels else slice(None)
    mean, std = torch.tensor(ours.mean), torch.tensor(ours.std)
    their_mean, their_std = torch.tensor(theirs.mean[order]), torch.tensor(theirs.std[order])
    scale, shift = std / their_std, (mean - their_mean) / their_std
    return scale.view(-1, 1, 1), shift.view(-1, 1, 1)
