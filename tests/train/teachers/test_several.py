"""Several teachers: what they answer together, what a run keeps of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import hswish
from hswish.models import DescribedModule, create_model
from hswish.spec.errors import OptionError
from hswish.train import Recipe, train
from hswish.train.run_folder import RunFolder
from hswish.train.teachers.foreign import ForeignTeacher
from hswish.train.teachers.several import Teachers
from hswish.train.teachers.teacher import Teacher

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from tests.foreign_network import write_network


def network(seed: int) -> DescribedModule:
    torch.manual_seed(seed)
    model = create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35)
    assert isinstance(model, DescribedModule)
    model.describe(classes=("blue", "green", "red"))
    return model.eval()


def test_they_answer_with_the_mean_of_their_probabilities(tmp_path: Path) -> None:
    student, first, second = (network(seed) for seed in range(3))
    weight = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    third = ForeignTeacher.open(write_network(tmp_path / "big.onnx", weight), student)
    together = Teachers([Teacher(first, student, "first"), Teacher(second, student, "second"), third])
    pictures = torch.randn(4, 3, 32, 32)
    foreign = pictures.mean((2, 3)) @ torch.from_numpy(weight).T
    with torch.no_grad():
        wanted = sum(logits.softmax(1) for logits in (first(pictures), second(pictures), foreign)) / 3
    assert torch.allclose(together(pictures).softmax(1), wanted, atol=1e-5)
    assert not together.on_device
    assert Teachers([Teacher(first, student, "first")]).on_device


def test_a_teacher_answers_as_its_network_without_its_norms() -> None:
    student, big = network(0), network(1).double()  # random norms let single-precision rounding grow
    for norm in (module for module in big.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        torch.nn.init.normal_(norm.bias)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    teacher, pictures = Teacher(big, student, "big"), torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        wanted = big(pictures)
    assert torch.allclose(teacher(pictures), wanted, atol=1e-5 * float(wanted.abs().max()))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in teacher.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in big.modules())  # the caller's own stays


def test_a_run_keeps_them_all_and_names_them(colours: Path, tmp_path: Path) -> None:
    hswish.save(network(1), tmp_path / "big.safetensors")
    weight = 5 * np.eye(3, dtype=np.float32)[::-1]
    files = (str(tmp_path / "big.safetensors"), str(write_network(tmp_path / "other.onnx", weight, apart=True)))
    recipe = Recipe(epochs=1, batch_size=8, height=32, width=32, ema_decay=0.0)
    changes = {"distill.teacher": files}
    run = train(
        colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, changes=changes, workers=0, width_mult=0.35
    )
    kept = {"teacher.safetensors": files[0], "teacher-2.onnx": files[1], "other.onnx.data": f"{files[1]}.data"}
    for copy, file in kept.items():
        assert (run.run / copy).read_bytes() == Path(file).read_bytes()
    assert hswish.load(run.best).description.provenance["teacher"] == "big.safetensors, other.onnx"


def test_one_given_twice_is_kept_twice(tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.onnx", np.eye(3, dtype=np.float32), apart=True)
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").keep_teachers([str(file)] * 2)
    kept = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert kept == ["net.onnx.data", "teacher-2.onnx", "teacher.onnx"]


def test_weights_of_one_name_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files.append(str(write_network(tmp_path / folder / "net.onnx", np.eye(3, dtype=np.float32), apart=True)))
    (tmp_path / "run").mkdir()
    with pytest.raises(OptionError, match=r"b/net.onnx.data: another teacher's weights have this name"):
        RunFolder(tmp_path / "run").keep_teachers(files)
