"""A teacher in an ONNX file: what it answers, how it is examined, that a resumed run still has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hswish.models import DescribedModule, create_model
from hswish.spec.errors import OptionError
from hswish.train import Recipe, train
from hswish.train.reporter import Reporter
from hswish.train.teachers.examined import beats_chance
from hswish.train.teachers.foreign import ForeignTeacher

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from tests.foreign_network import write_network

RECIPE = Recipe(epochs=2, batch_size=8, height=32, width=32, lr=0.05, ema_decay=0.0)
BLUE, GREEN, RED = np.eye(3, dtype=np.float32)[::-1]  # rows of channels: blue is the last
KNOWS = np.stack([BLUE, GREEN, RED])


class Notes(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def student(name: str = "mobilenet_v3_small") -> DescribedModule:
    model = create_model(name, num_classes=3, width_mult=0.35)
    assert isinstance(model, DescribedModule)
    return model


def test_masks_come_at_the_students_size(tmp_path: Path) -> None:
    path = write_network(tmp_path / "big.onnx", KNOWS, masks=True)
    teacher = ForeignTeacher.open(path, student("lraspp_mobilenet_v3_small"))
    pictures = torch.randn(2, 3, 16, 24)
    assert torch.allclose(teacher(pictures), pictures.flip(1), atol=1e-6)
    small = teacher.engine._infer  # as of a network that answers at a quarter of the size
    teacher.engine._infer = lambda batch: small(batch)[:, :, ::4, ::4]
    assert teacher(pictures).shape == (2, 3, 16, 24)


def test_it_is_examined_and_named(colours: Path, tmp_path: Path) -> None:
    notes = Notes()
    changes = {"distill.teacher": str(write_network(tmp_path / "big.onnx", 5 * KNOWS)), "distill.weight": 1.0}
    result = train(
        colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=RECIPE, changes=changes, workers=0,
        width_mult=0.35, reporter=notes,
    )  # fmt: skip
    assert any(line.startswith("teacher big.onnx: top1 1.0000 on") for line in notes.lines), notes.lines
    assert (tmp_path / "run" / "teacher.onnx").is_file()
    assert result.best.is_file()


@pytest.mark.parametrize(
    ("score", "classes", "count", "good"),
    [
        (0.70, 2, 500, True),
        (0.51, 2, 500, False),
        (0.60, 3, 12, True),
        (0.40, 3, 12, False),
        (0.004, 1000, 500, True),
        (0.0, 10, 4, False),
        (1.0, 1, 4, True),
    ],
)
def test_what_is_better_than_chance(score: float, classes: int, count: int, good: bool) -> None:
    """By the standard deviation of so many guesses: 0.022 of 500 between two, 0.136 of 12 among three."""
    assert beats_chance(score, classes, count) == good


def test_one_with_other_classes_is_refused(colours: Path, tmp_path: Path) -> None:
    """Its answers are right, in another order: each is wrong, and no shape shows it."""
    path = write_network(tmp_path / "big.onnx", KNOWS[[1, 2, 0]])
    options: dict[str, Any] = {"recipe": RECIPE, "changes": {"distill.teacher": str(path)}, "width_mult": 0.35}
    with pytest.raises(OptionError, match=r"big.onnx: a teacher no better than chance .*blue, green, red in"):
        train(colours, "mobilenet_v3_small", out=tmp_path / "run", workers=0, **options)
    assert not (tmp_path / "run").exists()
