"""The mean of networks: each weight's arithmetic mean, statistics of the pictures, figures that are its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hswish.data import open_data
from hswish.evaluate import evaluate
from hswish.models import load, save
from hswish.runtime import open_engine
from hswish.spec.errors import DataError
from hswish.train import Recipe, train
from zoo.__main__ import add
from zoo.mean import mean


@pytest.fixture
def run(colours: Path, tmp_path: Path) -> Path:
    """The folder of a short run, whose last network is not its best."""
    recipe = Recipe(epochs=3, batch_size=8, lr=3e-3, ema_decay=0.5)
    return train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35).run


def test_each_weight_is_the_mean_of_both(colours: Path, run: Path, tmp_path: Path) -> None:
    other = load(run / "best.safetensors")
    with torch.no_grad():
        for value in other.parameters():
            value.add_(torch.randn_like(value) * 0.01)
    save(other, tmp_path / "other.safetensors")
    out = tmp_path / "mean.safetensors"
    mean([run / "best.safetensors", tmp_path / "other.safetensors"], open_data(str(colours)), out)
    first, made = dict(load(run / "best.safetensors").named_parameters()), dict(load(out).named_parameters())
    for name, value in other.named_parameters():
        assert torch.allclose(made[name], (first[name] + value) / 2, atol=1e-6), name


def test_statistics_are_of_mixed_pictures(
    colours: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set's order is that of its classes, and a batch of one class varies far less than all of them do."""
    monkeypatch.setattr("zoo.mean.BATCH", 6)
    mean([run / "best.safetensors"], open_data(str(colours)), tmp_path / "mean.safetensors")
    model, source = load(tmp_path / "mean.safetensors"), open_data(str(colours))
    pictures = [model.preprocess(source.read_picture(item)) for item in source.items("train")]
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        answers = convolution(torch.from_numpy(np.stack(pictures)))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, answers.mean((0, 2, 3)), rtol=0.1, atol=0.05)
    assert torch.allclose(norm.running_var, answers.var((0, 2, 3)), rtol=0.3, atol=0.01)


def test_a_run_counts_by_its_averaged_weights(colours: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    mean([run / "best.safetensors", run], open_data(str(colours)), out)
    first, made = dict(load(run / "best.safetensors").named_parameters()), dict(load(out).named_parameters())
    last = torch.load(run / "last.ckpt", weights_only=True)["average"]
    for name, value in first.items():
        assert torch.allclose(made[name], (value + last[f"module.{name}"]) / 2, atol=1e-6), name


def test_a_run_without_averaged_weights_is_refused(colours: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8, ema_decay=0.0)
    run = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35)
    with pytest.raises(DataError, match="keeps no averaged weights; give a model file"):
        mean([run.best, run.run], open_data(str(colours)), tmp_path / "mean.safetensors")


def test_its_figures_are_measured_and_the_zoo_takes_it(colours: Path, run: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "mean.safetensors", tmp_path / "zoo"
    folder.mkdir()
    headline = mean([run / "best.safetensors", run], open_data(str(colours)), out)
    measured = evaluate(open_engine(out), open_data(str(colours)), "val")
    file = add(run, "mobilenet_v3_small.colours", "hswish train", "colours", folder=folder, model_file=out)
    figures = load(file).description.metrics["val"]
    assert headline == figures["top1"] == measured.headline[1]
    assert figures["mean_of"] == 2
