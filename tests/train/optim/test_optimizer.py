"""Which weights learn how fast, and which decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hswish.models import create_model
from hswish.train import Recipe
from hswish.train.optim.optimizer import build_optimizer, keep_rates_on, set_learning_rate
from hswish.train.optim.rmsprop import RMSPropTF
from hswish.train.recipe_groups import FineTuning


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
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("rmsprop", RMSPropTF)]
)
def test_each_optimizer_by_name(name: str, kind: type) -> None:
    assert isinstance(build_optimizer(nn.Linear(2, 2), Recipe(optimizer=name)), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_large"])
def test_rates_fall_from_the_head_down(name: str) -> None:
    """Small has 11 blocks: the head at 1, the last convolution at 0.5 x 0.8, the stem at 0.5 x 0.8^13."""
    model = create_model(name, num_classes=3, width_mult=0.35)
    optimizer = build_optimizer(model, Recipe(finetune=FineTuning(backbone_lr=0.5, depth_decay=0.8)))
    set_learning_rate(optimizer, 0.1)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    blocks = 11 if "small" in name else 15
    for weight_name, weight in model.named_parameters():
        part, _, rest = weight_name.partition(".")
        if part == "head":
            expected = 1.0
        elif rest.startswith("last"):
            expected = 0.5 * 0.8
        elif rest.startswith("stem"):
            expected = 0.5 * 0.8 ** (blocks + 2)
        else:
            expected = 0.5 * 0.8 ** (blocks + 1 - int(rest.split(".")[1]))
        assert rates[id(weight)] == pytest.approx(0.1 * expected), weight_name


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_rates_kept_on_the_device_make_the_same_steps(name: str) -> None:
    weights = []
    for kept in (False, True):
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        optimizer = build_optimizer(layer, Recipe(optimizer=name))
        if kept:
            keep_rates_on(torch.device("cpu"), optimizer)
        for rate in (0.1, 0.02):
            set_learning_rate(optimizer, rate)
            optimizer.zero_grad()
            layer(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        assert optimizer.state_dict()["param_groups"][0]["lr"] == pytest.approx(0.02)
        weights.append(layer.weight.detach())
    assert torch.allclose(*weights, atol=1e-6)
