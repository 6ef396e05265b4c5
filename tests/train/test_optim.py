"""Optimizers, learning rates and averages against the formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hswish.models import create_model
from hswish.train import Recipe
from hswish.train.optim import averaged, build_optimizer, learning_rate


def test_norms_and_biases_carry_no_weight_decay() -> None:
    model = create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35)
    optimizer = build_optimizer(model, Recipe(weight_decay=0.05))
    decays = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            matrix = isinstance(module, (nn.Conv2d, nn.Linear)) and name == "weight"
            assert decays[id(weight)] == (0.05 if matrix else 0.0)


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("rmsprop", torch.optim.RMSprop)]
)
def test_each_optimizer_by_name(name: str, kind: type) -> None:
    assert isinstance(build_optimizer(nn.Linear(2, 2), Recipe(optimizer=name)), kind)  # type: ignore[arg-type]


def test_warm_up_then_cosine() -> None:
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=2)
    rates = [learning_rate(step, 5, recipe) for step in range(50)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 40)) for k in range(40)])


def test_poly_and_constant() -> None:
    poly = Recipe(epochs=4, lr=2.0, warmup_epochs=0, schedule="poly")
    assert [learning_rate(s, 5, poly) for s in range(20)] == pytest.approx([2 * (1 - s / 20) ** 0.9 for s in range(20)])
    constant = Recipe(epochs=4, lr=2.0, warmup_epochs=0, schedule="constant")
    assert {learning_rate(s, 5, constant) for s in range(20)} == {2.0}


def test_a_run_shorter_than_its_warm_up_still_reaches_the_full_rate_half_way() -> None:
    recipe = Recipe(epochs=1, lr=1.0, warmup_epochs=5)
    rates = [learning_rate(step, 10, recipe) for step in range(10)]
    assert max(rates) == 1.0
    assert rates.index(1.0) in (4, 5)
    assert all(0 < rate <= 1 for rate in rates)


def test_average_is_the_recurrence_with_a_warm_up() -> None:
    model = nn.BatchNorm1d(1)
    average = averaged(model, decay=0.9)
    expected = torch.ones(1)
    for step in range(30):
        with torch.no_grad():
            model.weight.fill_(float(step))
            model.running_mean.fill_(float(-step))
            model.num_batches_tracked += 1
        average.update_parameters(model)
        decay = min(0.9, (1 + step) / (10 + step))
        # torch's AveragedModel copies at the first update
        expected = torch.tensor([float(step)]) if step == 0 else decay * expected + (1 - decay) * step
    assert average.module.weight.item() == pytest.approx(expected.item(), rel=1e-6)
    assert average.module.running_mean.item() == pytest.approx(-expected.item(), rel=1e-6)
    assert int(average.module.num_batches_tracked) == 30
