"""The plain teacher: its files answer as the network does, its views are the pictures moved, and it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hswish.models import DescribedModule, create_model
from hswish.train import Recipe
from hswish.train.teachers.several import open_teachers
from zoo.plain.files import write
from zoo.plain.learning import DEEP, SHALLOW, Course, learn, shifted
from zoo.plain.network import Group, Plain


def colours_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy pictures (N, 3, 16, 16) whose class is their brightest channel."""
    labels = torch.randint(0, 3, (count,))
    pictures = torch.randn(count, 3, 16, 16) + 2.0 * torch.eye(3)[labels][:, :, None, None]
    return pictures, labels


@pytest.mark.parametrize("course", [SHALLOW, DEEP])
def test_it_learns(course: Course) -> None:
    torch.manual_seed(0)
    net = Plain(3, (8, 8, 8), course.deep)
    learn(net, *colours_of(512), replace(course, epochs=12 if course.deep else 4), batch_size=64)
    pictures, labels = colours_of(200)
    with torch.no_grad():
        assert (net(pictures).argmax(1) == labels).float().mean() > 0.9


def test_whitened_patches_are_uncorrelated() -> None:
    pictures = torch.randn(50, 3, 16, 16).cumsum(3)
    pictures /= pictures.std()
    net = Plain(3)
    net.fit_whitening(pictures)
    with torch.no_grad():
        answers = net.whiten(pictures)[:, :12].transpose(0, 1).reshape(12, -1)
    assert torch.allclose(answers @ answers.T / answers.shape[1], torch.eye(12), atol=0.05)


def test_views_are_the_pictures_moved_and_turned() -> None:
    torch.manual_seed(0)
    pictures = torch.randn(20, 3, 8, 8)
    mirrored = torch.arange(20) % 2 == 0
    views = shifted(pictures, mirrored, most=2)
    offsets = set()
    for picture, turned, view in zip(pictures, mirrored, views, strict=True):
        padded = np.pad(picture.numpy(), ((0, 0), (2, 2), (2, 2)), "reflect")
        crops = {(y, x): padded[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)}
        wanted = view.flip(2).numpy() if turned else view.numpy()
        (found,) = (place for place, crop in crops.items() if np.array_equal(crop, wanted))
        offsets.add(found)
    assert len(offsets) > 5


@pytest.mark.parametrize("deep", [False, True])
def test_its_files_are_teachers_that_answer_as_the_network(tmp_path: Path, deep: bool) -> None:
    torch.manual_seed(0)
    net = Plain(3, (8, 12, 16), deep)
    for group in net.groups:
        assert isinstance(group, Group)
        for norm in group.norms:
            torch.nn.init.normal_(norm.bias)  # type: ignore[arg-type] # it has one
            torch.nn.init.uniform_(norm.running_mean, -1, 1)  # type: ignore[arg-type]
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    pictures = torch.randn(5, 3, 32, 32)
    student = create_model("mobilenet_v3_small", num_classes=3)
    assert isinstance(student, DescribedModule)
    for name in ("plain.onnx", "plain.pt2"):
        write(net.eval(), tmp_path / name)
        teacher = open_teachers([tmp_path / name], student, Recipe(), torch.device("cpu"))
        with torch.no_grad():
            assert (teacher(pictures) - net(pictures)).abs().max() < 1e-4
