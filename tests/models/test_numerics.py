"""Arithmetic: batches against single pictures, training steps against float64, training against evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hswish.models import DescribedModule, create_model, list_models
from tests.models.reference import Floats
from tests.models.reference_network import Network, Reading

Lived = Callable[..., nn.Module]
Tensors = dict[str, Tensor]

READINGS = {
    "mobilenet_v3_large": Reading(size="large", classes=5, width=0.1, head_width=16),
    "mobilenet_v3_small": Reading(size="small", classes=5, width=0.1, head_width=16),
    "lraspp_mobilenet_v3_small": Reading(
        size="small", head="lraspp", classes=5, width=0.1, head_width=16, output_stride=16, halved="all"
    ),
}
"""the networks whose gradients are checked against the reference"""


def tiny_network(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """About as small as its kind can be, without dropout."""
    model = create_model(name, width_mult=0.1, head_channels=16, num_classes=5, dropout=0.0)
    return model.to(dtype)


def batch_for(model: nn.Module, pictures: int = 4, side: int = 48) -> tuple[Tensor, Tensor]:
    """Noise and labels, (N, 3, H, W) in the model's dtype and (N,) or (N, H, W)."""
    generator = torch.Generator().manual_seed(5)
    assert isinstance(model, DescribedModule)
    shape = (pictures, side, side + 5) if model.architecture.task == "segmentation" else (pictures,)
    x = torch.randn(pictures, 3, side, side + 5, generator=generator, dtype=torch.float64)
    return x.to(next(model.parameters()).dtype), torch.randint(0, 5, shape, generator=generator)


# --- Evaluation ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(65, 40), (64, 64)])
@pytest.mark.parametrize("name", list_models())
def test_a_batch_is_its_pictures_one_by_one(name: str, size: tuple[int, int], lived: Lived) -> None:
    model = lived(create_model(name, width_mult=0.35, num_classes=7))
    x = torch.randn(9, 3, *size)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
    assert alone.std() > 0.1
    assert (together - alone).abs().max() < 1e-5 * max(1.0, alone.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_at_full_width_too(name: str, lived: Lived) -> None:
    model = lived(create_model(name))
    x = torch.randn(16, 3, 97, 129)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
    assert (together - alone).abs().max() < 1e-5 * max(1.0, alone.abs().max())


@pytest.mark.parametrize("head", ["official", "seed", "torchvision", "fastseg", "raspp"])
def test_each_head_treats_pictures_apart(head: str, lived: Lived) -> None:
    model = lived(create_model("lraspp_mobilenet_v3_small", width_mult=0.35, head=head, num_classes=5))
    x = torch.randn(5, 3, 65, 71)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
        others = model(torch.cat([x[:1], torch.randn(4, 3, 65, 71)]))
    assert (together - alone).abs().max() < 1e-5 * max(1.0, alone.abs().max())
    assert (others[0] - alone[0]).abs().max() < 1e-5 * max(1.0, alone.abs().max())


_PIXELS = {name: tiny_network(name, torch.float32).eval() for name in list_models()}


@settings(max_examples=40)
@given(
    name=st.sampled_from(list_models()),
    pictures=st.integers(1, 5),
    height=st.integers(1, 100),
    width=st.integers(1, 100),
)
def test_evaluation_is_repeatable_and_finite_at_any_size(name: str, pictures: int, height: int, width: int) -> None:
    x = torch.randn(pictures, 3, height, width, generator=torch.Generator().manual_seed(height))
    with torch.no_grad():
        first, second = _PIXELS[name](x), _PIXELS[name](x)
        last = _PIXELS[name](x[-1:])
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()
    assert (first[-1:] - last).abs().max() < 1e-5 * max(1.0, last.abs().max())


# --- Gradients -----------------------------------------------------------------------------


def loss_of(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(x), labels)


def reference_loss(network: Network, x: Floats, labels: Floats) -> float:
    """Mean of -log softmax at the labels, over pictures and pixels."""
    logits = network(x)
    logits = logits - logits.max(1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-np.take_along_axis(log_probabilities, labels[:, None], 1).mean())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "large" in name else ()) for name in READINGS]
)
def test_gradients_are_the_slopes_of_the_references_loss(name: str, lived: Lived) -> None:
    """Every parameter, by central differences along a random direction, batch statistics included."""
    model = lived(tiny_network(name)).train()
    x, labels = batch_for(model, side=33)
    weights = {key: value.detach().numpy().copy() for key, value in model.state_dict().items()}
    loss = loss_of(model, x, labels)
    loss.backward()
    network = Network(READINGS[name], weights, training=True)
    arrays = x.numpy(), labels.numpy()
    assert reference_loss(network, *arrays) == pytest.approx(loss.item(), rel=1e-9)

    random, step, wrong = np.random.RandomState(0), 1e-8, {}  # so short that hardly a ReLU passes its knee
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        direction = random.standard_normal(parameter.shape)
        slopes = []
        for sign in (1, -1):
            network.weights = {**weights, key: weights[key] + sign * step * direction}
            slopes.append(reference_loss(network, *arrays))
        slope, wanted = (slopes[0] - slopes[1]) / (2 * step), float((parameter.grad.numpy() * direction).sum())
        scale = np.linalg.norm(parameter.grad.numpy())
        if abs(slope - wanted) > 1e-4 * scale + 3e-7:  # 3e-7: the rounding of two losses over the step
            wrong[key] = (slope, wanted)
    assert not wrong


def pair(name: str, lived: Lived) -> tuple[nn.Module, nn.Module]:
    """One network in float32 and in float64, in training mode."""
    single = lived(create_model(name, width_mult=0.35, num_classes=5, dropout=0.0))
    double = create_model(name, width_mult=0.35, num_classes=5, dropout=0.0).double()
    double.load_state_dict(single.state_dict())
    return single.train(), double.train()


def far(computed: Tensors, wanted: Tensors, tolerance: float) -> dict[str, float]:
    """|computed - wanted| / |wanted| where it is above the tolerance, by name.

    A norm counts as no less than a thousandth of the largest: the gradient of a shift that the next
    batch norm takes out again is nothing but rounding.
    """
    least = 1e-3 * max(value.norm() for value in wanted.values())
    found = {key: ((computed[key].double() - value).norm() / max(value.norm(), least)) for key, value in wanted.items()}
    return {key: error.item() for key, error in found.items() if not error < tolerance}


@pytest.mark.parametrize("name", list_models())
def test_a_training_step_in_float32_is_the_one_in_float64(name: str, lived: Lived) -> None:
    """Gradients, and after a step of SGD (momentum, weight decay) weights and running statistics.

    The tolerance on gradients is wide because a ReLU whose input rounds to the other side of a knee
    gives its whole gradient or none.
    """
    single, double = pair(name, lived)
    models = (single, double)
    before = {key: value.clone() for key, value in double.state_dict().items()}
    for model in models:
        loss_of(model, *batch_for(model, side=64)).backward()
    slopes = [{key: weight.grad for key, weight in model.named_parameters()} for model in models]
    assert not far(*slopes, tolerance=1e-3)  # type: ignore[arg-type]

    for model in models:
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4).step()
    for key, weight in double.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(weight.data, before[key] - 0.1 * (weight.grad + 1e-4 * before[key]))
    states = [{key: value for key, value in model.state_dict().items() if value.dim()} for model in models]
    assert not far(*states, tolerance=1e-5)
    changed = [key for key, value in double.state_dict().items() if not torch.equal(value, before[key])]
    assert set(changed) == set(before), "a step moves every weight, statistic and counter"


# --- The two modes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_training_mode_uses_the_batch_and_evaluation_mode_what_was_learnt(name: str, lived: Lived) -> None:
    model = lived(tiny_network(name))
    weights = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    x, _ = batch_for(model)
    with torch.no_grad():
        for training in (False, True):
            wanted = Network(READINGS[name], weights, training=training)(x.numpy())
            np.testing.assert_allclose(model.train(training)(x).numpy(), wanted, rtol=1e-9, atol=1e-9)


def test_evaluation_changes_nothing(lived: Lived) -> None:
    model = lived(create_model("lraspp_mobilenet_v3_small", width_mult=0.35))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("momentum", [0.01, 0.1])
def test_statistics_move_by_the_momentum(momentum: float, lived: Lived) -> None:
    """A step in training mode moves each running mean by `bn_momentum` of the way to the batch's."""
    model = lived(create_model("mobilenet_v3_small", width_mult=0.1, bn_momentum=momentum).double())
    norms = {key: part for key, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)}
    old = {key: (norm.running_mean.clone(), norm.running_var.clone()) for key, norm in norms.items()}  # type: ignore[union-attr]
    seen: dict[str, Tensor] = {}
    for key, norm in norms.items():
        norm.register_forward_hook(lambda _module, inputs, _out, key=key: seen.update({key: inputs[0]}))
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64, dtype=torch.float64))
    for key, norm in norms.items():
        mean, variance = seen[key].mean((0, 2, 3)), seen[key].var((0, 2, 3))
        torch.testing.assert_close(norm.running_mean, (1 - momentum) * old[key][0] + momentum * mean)
        torch.testing.assert_close(norm.running_var, (1 - momentum) * old[key][1] + momentum * variance)


@pytest.mark.parametrize("head", ["lraspp", "fastseg", "raspp"])
def test_dropout_is_the_only_chance_in_training(head: str, lived: Lived) -> None:
    """Off in evaluation mode and at rate 0; on, whole outputs differ from draw to draw."""
    model = lived(create_model("lraspp_mobilenet_v3_small", width_mult=0.1, head=head, dropout=0.5))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        assert torch.equal(model(x), model(x))
