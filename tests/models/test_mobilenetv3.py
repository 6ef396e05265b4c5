"""The classifiers against the head written out; their budgets are `test_budget.py`'s."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models import create_model, list_models
from hswish.models.mobilenetv3 import MobileNetV3

CLASSIFIERS = [name for name in list_models() if not name.startswith("lraspp_")]
Lived = Callable[..., nn.Module]


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
