"""From a name and keywords to a network, and how its first weights are drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import hswish
from hswish.models import DescribedModule, FeatureExtractor, create_model, list_models
from hswish.models.mobilenetv3 import MobileNetV3
from hswish.models.segmenter import Segmenter
from hswish.spec.architecture import MODEL_NAMES
from hswish.spec.errors import OptionError


def test_the_list_is_the_documented_one() -> None:
    assert list_models() == list(MODEL_NAMES) == hswish.list_models()
    assert {
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "mobilenet_v3_large_minimal",
        "mobilenet_v3_small_minimal",
        "lraspp_mobilenet_v3_large",
        "lraspp_mobilenet_v3_small",
    } <= set(list_models())
    list_models().clear()
    assert list_models(), "a caller's list is the caller's"


@pytest.mark.parametrize("name", list_models())
def test_every_name_makes_its_network(name: str) -> None:
    model = create_model(name, width_mult=0.35, num_classes=6)
    assert isinstance(model, Segmenter if name.startswith("lraspp_") else MobileNetV3)
    assert isinstance(model, DescribedModule)
    assert model.architecture.name == name
    assert model.training
    with torch.no_grad():
        logits = model.eval()(torch.randn(2, 3, 40, 48))
    assert logits.shape == ((2, 6, 40, 48) if name.startswith("lraspp_") else (2, 6))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("name", list_models())
def test_features_only_is_the_backbone_of_that_name(name: str) -> None:
    features = create_model(name, features_only=True, width_mult=0.35)
    whole = create_model(name, width_mult=0.35)
    assert isinstance(features, FeatureExtractor)
    backbone = [key for key in whole.state_dict() if key.startswith("backbone.")]
    assert list(features.state_dict()) == backbone


def test_wrong_names_offer_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean mobilenet_v3_large"):
        create_model("mobilenet_v3_larg")
    with pytest.raises(OptionError, match="did you mean num_classes"):
        create_model("mobilenet_v3_small", num_clases=3)
    with pytest.raises(OptionError, match="choose from"):
        create_model("vgg")
    with pytest.raises(OptionError, match="features_only=True"):
        create_model("mobilenet_v3_small", taps=["last"])


@pytest.mark.parametrize(
    "option",
    [
        {"num_classes": 0},
        {"num_classes": 2.0},
        {"width_mult": 0},
        {"width_mult": math.nan},
        {"dropout": 1.0},
        {"output_stride": 4},
        {"in_channels": 0},
        {"head_channels": -1},
        {"reduced_tail": 1},
        {"width_rule": "caffe"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        create_model("mobilenet_v3_small", **option)


def test_the_same_seed_draws_the_same_weights() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(create_model("mobilenet_v3_small", width_mult=0.35).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["head.hidden.weight"], states[2]["head.hidden.weight"])


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_first_weights(name: str) -> None:
    torch.manual_seed(0)
    for module in create_model(name).modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1)
            assert torch.all(module.bias == 0)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_out = module.weight.shape[0] * module.weight[0, 0].numel()
            wanted = math.sqrt(2 / fan_out) if isinstance(module, nn.Conv2d) else 0.01
            assert module.weight.mean().abs() < 4 * wanted / math.sqrt(module.weight.numel())
            assert module.weight.std().item() == pytest.approx(wanted, rel=5 / math.sqrt(2 * module.weight.numel()))
            assert module.bias is None or torch.all(module.bias == 0)
