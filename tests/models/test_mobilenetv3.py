"""The classifiers against published budgets, and against the head written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models import DescribedModule, create_model, list_models
from hswish.models.mobilenetv3 import MobileNetV3
from hswish.spec.budget import layer_costs

CLASSIFIERS = [name for name in list_models() if not name.startswith("lraspp_")]
Lived = Callable[..., nn.Module]
Measured = tuple[str, tuple[int, int, int], int, int]

# (size, options, parameters): tv = torchvision's weight metadata, timm = its results table,
# slim = the authors' README, calc = counted by hand from Tables 1 and 2.
PARAMETERS: list[tuple[str, dict[str, Any], int]] = [
    ("large", {}, 5_483_032),  # tv, timm
    ("small", {}, 2_542_856),  # tv, timm
    ("small", {"head_channels": 1280}, 2_946_568),  # the paper's 2.9M
    ("large", {"width_mult": 0.75}, 3_993_528),  # the paper's 4.0M; timm
    ("small", {"width_mult": 0.75}, 2_041_872),  # timm
    ("large", {"width_mult": 0.75, "width_rule": "torchvision"}, 3_377_576),  # tv's code, calc
    ("small", {"width_mult": 0.75, "width_rule": "torchvision"}, 1_653_920),
    ("large_minimal", {}, 3_924_288),  # timm, slim
    ("small_minimal", {}, 2_044_736),
    ("large", {"num_classes": 1001}, 5_484_313),  # slim
    ("large", {"reduced_tail": True}, 2_569_352),  # tv's code, calc
    ("small", {"reduced_tail": True}, 1_099_672),
    ("large", {"in_channels": 1}, 5_483_032 - 2 * 16 * 9),
    ("small", {"num_classes": 10}, 2_542_856 - 990 * 1025),
]


def measure(model: nn.Module, height: int, width: int) -> list[Measured]:
    """(name, output, parameters, multiply-adds) of each convolution and linear layer, seen as it runs."""
    outputs: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, out: outputs.update({name: tuple(out.shape[1:])})

    handles = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        model.eval()(torch.zeros(1, first.in_channels, height, width))
    for handle in handles:
        handle.remove()
    return list(_measured(model, outputs))


def _measured(model: nn.Module, outputs: dict[str, tuple[int, ...]]) -> Iterator[Measured]:
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        channels, height, width = (*outputs[name], 1, 1)[:3]
        owner = model.get_submodule(name.removesuffix(".conv")) if name.endswith(".conv") else module
        parameters = sum(weight.numel() for weight in owner.parameters())  # batch norm included
        yield name.removesuffix(".conv"), (channels, height, width), parameters, module.weight.numel() * height * width


@pytest.mark.parametrize(("size", "options", "parameters"), PARAMETERS)
def test_parameters_are_the_published_ones(size: str, options: dict[str, Any], parameters: int) -> None:
    model = create_model(f"mobilenet_v3_{size}", **options)
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    ("size", "millions"), [("large", 216.59), ("small", 56.51), ("large_minimal", 209.14), ("small_minimal", 52.29)]
)
def test_multiply_adds_are_the_published_ones(size: str, millions: float) -> None:
    layers = measure(create_model(f"mobilenet_v3_{size}"), 224, 224)
    assert round(sum(cost for *_, cost in layers) / 1e6, 2) == millions


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"width_mult": 0.35, "in_channels": 1, "num_classes": 7},
        {"width_mult": 0.5, "width_rule": "torchvision", "output_stride": 8},
        {"reduced_tail": True, "head_channels": 40, "output_stride": 32},
    ],
    ids=str,
)
def test_the_budget_is_the_modules_layer_by_layer(name: str, options: dict[str, Any]) -> None:
    model = create_model(name, **options)
    assert isinstance(model, DescribedModule)
    for height, width in ((64, 64), (33, 71)):
        budget = layer_costs(model.architecture, height, width)
        wanted = [(layer.name, layer.output, layer.parameters, layer.multiply_adds) for layer in budget]
        assert measure(model, height, width) == wanted
    assert sum(weight.numel() for weight in model.parameters()) == sum(parameters for *_, parameters, _ in wanted)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_head_is_pool_dense_act_dense(name: str, lived: Lived) -> None:
    model = lived(create_model(name, width_mult=0.35, num_classes=7).double())
    assert isinstance(model, MobileNetV3)
    x = torch.randn(3, 3, 75, 64, dtype=torch.float64)
    weights = model.state_dict()
    with torch.no_grad():
        pooled = model.backbone(x).mean(dim=(2, 3))
        hidden = pooled @ weights["head.hidden.weight"].T + weights["head.hidden.bias"]
        hidden = F.relu(hidden) if "minimal" in name else hidden * F.relu6(hidden + 3) / 6
        wanted = hidden @ weights["head.classifier.weight"].T + weights["head.classifier.bias"]
        logits = model(x)
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 47), (224, 16)])
def test_any_size_gives_one_row_of_logits_a_picture(name: str, size: tuple[int, int]) -> None:
    model = create_model(name, width_mult=0.35, num_classes=7).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_in_channels(in_channels: int) -> None:
    model = create_model("mobilenet_v3_small", width_mult=0.35, in_channels=in_channels).eval()
    assert model(torch.randn(1, in_channels, 32, 32)).shape == (1, 1000)
    with pytest.raises(RuntimeError):
        model(torch.randn(1, in_channels + 1, 32, 32))


def test_dropout_only_while_training_and_before_the_last_layer(lived: Lived) -> None:
    model = lived(create_model("mobilenet_v3_small", width_mult=0.35, num_classes=5, dropout=0.5))
    assert isinstance(model, MobileNetV3)
    seen: list[Tensor] = []
    model.head.classifier.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(model(x), model(x))
    model.head.train()
    assert not torch.equal(model(x), model(x))
    plain, dropped = seen[0], seen[2]
    zero = dropped == 0
    assert 0.4 < zero.float().mean() < 0.65
    torch.testing.assert_close(dropped[~zero], 2 * plain[~zero])


def test_no_dropout_when_its_rate_is_zero(lived: Lived) -> None:
    model = lived(create_model("mobilenet_v3_small", width_mult=0.35, dropout=0))
    assert isinstance(model, MobileNetV3)
    x = torch.randn(1, 3, 32, 32)
    wanted = model(x)
    model.head.train()
    assert torch.equal(model(x), wanted)
    default = create_model("mobilenet_v3_small", width_mult=0.35)
    assert isinstance(default, MobileNetV3)
    assert default.head.dropout.p == 0.2


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_batch_is_its_pictures_one_by_one(name: str, lived: Lived) -> None:
    model = lived(create_model(name, width_mult=0.35, num_classes=7))
    x = torch.randn(5, 3, 65, 40)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
    assert (together - alone).abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_training_steps_lower_the_loss_and_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, width_mult=0.35, num_classes=4, dropout=0).train()
    x, targets = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(x), targets)
        optimiser.zero_grad()
        loss.backward()
        assert not [key for key, weight in model.named_parameters() if weight.grad is None]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_batch_of_one_trains_where_the_deepest_map_has_two_pixels() -> None:
    model = create_model("mobilenet_v3_small", width_mult=0.35, num_classes=4).train()
    loss = F.cross_entropy(model(torch.randn(1, 3, 64, 33)), torch.tensor([1]))
    loss.backward()
    assert torch.isfinite(loss)
    create_model("mobilenet_v3_small", width_mult=0.35, output_stride=16).train()(torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # no batch norm can train on one value
        model(torch.randn(1, 3, 32, 32))
