"""A teacher in a program of torch.export: what it answers, how it is examined, that a resumed run still has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models import DescribedModule, create_model
from hswish.spec.errors import ModelFileError, OptionError
from hswish.train import Recipe, resume, train
from hswish.train.interrupt import Interrupted
from hswish.train.reporter import Reporter
from hswish.train.teachers.exported import ExportedTeacher
from tests.same import same_weights

RECIPE = Recipe(epochs=2, batch_size=8, height=32, width=32, lr=0.05, ema_decay=0.0)
KNOWS = 5 * torch.eye(3).flip(0)  # rows of channels: blue, the first class, is the last


class Means(nn.Module):
    """The mean of each channel, or a map of each at a quarter of the size, times `weight`."""

    def __init__(self, weight: Tensor, masks: bool = False) -> None:
        super().__init__()
        self.kernel, self.masks = nn.Parameter(weight[:, :, None, None].clone()), masks

    def forward(self, pictures: Tensor) -> Tensor:
        found = F.conv2d(F.avg_pool2d(pictures, 4), self.kernel)
        return found if self.masks else found.mean((2, 3))


def written(path: Path, weight: Tensor = KNOWS, *, masks: bool = False, many: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("n")},) if many else None
    program = torch.export.export(Means(weight, masks), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def student(name: str = "mobilenet_v3_small") -> DescribedModule:
    model = create_model(name, num_classes=3, width_mult=0.35)
    assert isinstance(model, DescribedModule)
    return model


def test_it_answers_as_the_network(tmp_path: Path) -> None:
    teacher = ExportedTeacher.open(written(tmp_path / "big.pt2"), student())
    for count in (1, 5):
        pictures = torch.randn(count, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        wanted = pictures.mean((2, 3)) @ KNOWS.T
        assert torch.allclose(teacher(pictures), wanted, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(teacher(pictures).float(), wanted, atol=0.02)
    teacher.train()
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_masks_come_at_the_students_size(tmp_path: Path) -> None:
    path = written(tmp_path / "big.pt2", torch.eye(3), masks=True)
    teacher = ExportedTeacher.open(path, student("lraspp_mobilenet_v3_small"))
    pictures = torch.randn(2, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    answer = teacher(pictures)
    assert answer.shape == (2, 3, 32, 32)
    assert torch.allclose(answer.mean((2, 3)), pictures.mean((2, 3)), atol=0.1)


class Notes(Reporter):
    def __init__(self, stops_after: int) -> None:
        self.lines: list[str] = []
        self.left = stops_after

    def note(self, text: str) -> None:
        self.lines.append(text)

    def step(self, pictures: int, loss: float, lr: float) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_it_is_examined_kept_and_there_after_a_stop(colours: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "big.pt2")
    recipe = RECIPE.with_changes({"distill.teacher": str(path), "distill.weight": 1.0})
    runs = [tmp_path / "whole", tmp_path / "parts"]
    for run, stops_after in zip(runs, (0, 3), strict=True):
        notes = Notes(stops_after)
        try:
            train(colours, "mobilenet_v3_small", out=run, recipe=recipe, workers=0, width_mult=0.35, reporter=notes)
        except Interrupted:
            path.unlink()
            resume(run, workers=0)
        assert any(line.startswith("teacher big.pt2: top1 1.0000 on") for line in notes.lines), notes.lines
        assert (run / "teacher.pt2").is_file()
    assert not path.exists()
    assert same_weights(runs[0] / "best.safetensors", runs[1] / "best.safetensors")


def test_what_does_not_fit_is_refused_in_a_line(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt2").write_bytes(b"PK\3\4 and no more")
    cases = {
        "missing.pt2": (ModelFileError, "no such"),
        "broken.pt2": (ModelFileError, r"broken.pt2: no program of torch.export"),
        str(written(tmp_path / "other.pt2", KNOWS[[1, 2, 0]])): (OptionError, "no better than chance"),
        str(written(tmp_path / "two.pt2", many=False)): (OptionError, r"two.pt2: does not take pictures of the shape"),
        str(written(tmp_path / "more.pt2", torch.ones(4, 3))): (OptionError, r"logits \(1, 3\) are expected"),
    }
    for name, (kind, text) in cases.items():
        recipe = RECIPE.with_changes({"distill.teacher": str(tmp_path / name)})
        with pytest.raises(kind, match=text) as caught:
            train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()
