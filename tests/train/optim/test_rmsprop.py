"""RMSProp against TensorFlow's update rule in slow numpy, and against torch's where the two agree."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from hswish.train.optim.rmsprop import RMSPropTF


def reference(
    w: np.ndarray, gradients: list[np.ndarray], lr: float, decay: float, momentum: float, eps: float, l2: float
) -> np.ndarray:
    """tf.raw_ops.ApplyRMSProp, element by element as its documentation writes it; L2 is part of the loss there."""
    w, ms, mom = w.copy(), np.ones_like(w), np.zeros_like(w)
    for gradient in gradients:
        for index in np.ndindex(w.shape):
            g = gradient[index] + l2 * w[index]
            ms[index] = decay * ms[index] + (1 - decay) * g * g
            mom[index] = momentum * mom[index] + lr * g / np.sqrt(ms[index] + eps)
            w[index] -= mom[index]
    return w


@pytest.mark.parametrize(("momentum", "l2"), [(0.9, 1e-2), (0.0, 0.0)])
def test_is_tensorflows(momentum: float, l2: float) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)), [rng.normal(size=(3, 4)) * 0.1 for _ in range(20)]
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = RMSPropTF([weight], lr=0.02, momentum=momentum, eps=2e-3, weight_decay=l2)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
    expected = reference(start, gradients, 0.02, 0.9, momentum, 2e-3, l2)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-10)


def test_a_weight_without_gradient_stands_still_and_state_survives() -> None:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = RMSPropTF(weights, lr=0.1)
    weights[0].grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(weights[1], torch.ones(2))
    twins = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    again = RMSPropTF(twins, lr=0.1)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, other in ((weights, optimizer), (twins, again)):
        for weight in one:
            weight.grad = torch.full((2,), 0.5)
        other.step()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(weights, twins, strict=True))
