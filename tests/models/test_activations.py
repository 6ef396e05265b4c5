"""The non-linearities against the equations, written out in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hswish.models.activations import ACTIVATIONS, HSigmoid, HSwish, activation, h_sigmoid, h_swish

Floats = NDArray[np.float64]


def relu6_of_x_plus_3_over_6(x: Floats) -> Floats:
    return np.minimum(np.maximum(x + 3.0, 0.0), 6.0) / 6.0


def x_times_that(x: Floats) -> Floats:
    return x * relu6_of_x_plus_3_over_6(x)


def slope_of_h_sigmoid(x: Floats) -> Floats:
    return np.where((x > -3) & (x < 3), 1 / 6, 0.0)


def slope_of_h_swish(x: Floats) -> Floats:
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * x + 3) / 6))


KNEES = [value for knee in (-3.0, 3.0) for value in (knee, np.nextafter(knee, -9), np.nextafter(knee, 9), knee - 1e-4)]
INPUTS = np.array([*KNEES, 0.0, -0.0, -1.5, 1.5, 1e-300, 1e6, -1e6, *np.linspace(-8, 8, 1601)])

Case = tuple[Callable[[Tensor], Tensor], Callable[[Floats], Floats], Callable[[Floats], Floats]]
CASES: list[Case] = [
    (h_sigmoid, relu6_of_x_plus_3_over_6, slope_of_h_sigmoid),
    (HSigmoid(), relu6_of_x_plus_3_over_6, slope_of_h_sigmoid),
    (h_swish, x_times_that, slope_of_h_swish),
    (HSwish(), x_times_that, slope_of_h_swish),
]
each = pytest.mark.parametrize(
    ("computed", "equation", "slope"), CASES, ids=["h_sigmoid", "HSigmoid", "h_swish", "HSwish"]
)


@each
def test_values_are_the_equations(computed: Callable, equation: Callable, slope: Callable) -> None:
    np.testing.assert_allclose(computed(torch.from_numpy(INPUTS)).numpy(), equation(INPUTS), rtol=1e-14, atol=1e-15)
    single = INPUTS.astype(np.float32)
    wanted = equation(single.astype(np.float64))
    np.testing.assert_allclose(computed(torch.from_numpy(single)).numpy(), wanted, rtol=1e-6, atol=1e-6)


@each
def test_the_flat_parts_are_exact(computed: Callable, equation: Callable, slope: Callable) -> None:
    outside = torch.tensor([-3.0, -3.5, -1e6, 3.0, 3.5, 1e6])
    assert torch.equal(computed(outside).double(), torch.from_numpy(equation(outside.double().numpy())))


@each
def test_gradients_are_the_slopes(computed: Callable, equation: Callable, slope: Callable) -> None:
    away = INPUTS[np.abs(np.abs(INPUTS) - 3) > 1e-9]
    x = torch.from_numpy(away).requires_grad_()
    computed(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), slope(away), rtol=1e-6)


@each
def test_gradients_at_the_knees_lie_between_the_two_sides(
    computed: Callable, equation: Callable, slope: Callable
) -> None:
    knees = np.array([-3.0, 3.0])
    x = torch.from_numpy(knees).requires_grad_()
    computed(x).sum().backward()
    assert x.grad is not None
    left, right = slope(knees - 1e-9), slope(knees + 1e-9)
    assert np.all(x.grad.numpy() >= np.minimum(left, right) - 1e-8)
    assert np.all(x.grad.numpy() <= np.maximum(left, right) + 1e-8)


@each
def test_any_shape_and_the_input_is_left_alone(computed: Callable, equation: Callable, slope: Callable) -> None:
    for shape in ((), (0, 3), (2, 3, 4, 5)):
        x = torch.randn(shape)
        before = x.clone()
        assert computed(x).shape == x.shape
        assert torch.equal(x, before)


def test_names_of_the_tables_column() -> None:
    assert set(ACTIVATIONS) == {"relu", "hard_swish"}
    assert isinstance(activation("relu"), nn.ReLU)
    assert isinstance(activation("hard_swish"), HSwish)
    assert activation("hard_swish") is not activation("hard_swish")
