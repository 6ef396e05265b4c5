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


def beside_the_knees(dtype: torch.dtype) -> Tensor:
    """-3, 0 and 3 and the numbers next to them in this precision, on both sides."""
    knees = torch.tensor([-3.0, 0.0, 3.0], dtype=dtype)
    below, above = (torch.nextafter(knees, torch.full_like(knees, side)) for side in (-9.0, 9.0))
    return torch.cat([below, knees, above])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])  # nextafter knows no float16
@each
def test_values_beside_the_knees(computed: Callable, equation: Callable, slope: Callable, dtype: torch.dtype) -> None:
    x = beside_the_knees(dtype)
    wanted = torch.from_numpy(equation(x.double().numpy()))
    precision = torch.finfo(dtype).eps
    assert computed(x).dtype == dtype
    torch.testing.assert_close(computed(x).double(), wanted, rtol=2 * precision, atol=2 * precision)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@each
def test_gradients_beside_and_at_the_knees(
    computed: Callable, equation: Callable, slope: Callable, dtype: torch.dtype
) -> None:
    """At a knee torch takes one side's slope: the outer one, except that h-swish at 3 is x itself already."""
    x = beside_the_knees(dtype)
    if not isinstance(computed, nn.Module):  # written as the equation, x + 3 rounds to 6 just below 3
        x = x[(x == 3) | (x + 3 != 6)]
    x.requires_grad_()
    computed(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), slope(x.detach().numpy().astype(np.float64)), rtol=2e-7, atol=1e-7)


def every_number(dtype: torch.dtype) -> Tensor:
    """All finite numbers of a 16-bit format, subnormal ones too."""
    numbers = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype)
    return numbers[torch.isfinite(numbers)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("module", "equation"), [(HSigmoid(), relu6_of_x_plus_3_over_6), (HSwish(), x_times_that)], ids=["sigmoid", "swish"]
)
def test_half_precision_is_the_equation_rounded_once(module: nn.Module, equation: Callable, dtype: torch.dtype) -> None:
    """For each number there is. (Above 5e37 the kernel's 6 x leaves float32, which bfloat16 could still hold.)"""
    x = every_number(dtype)
    x = x[x.float() < 5e37]
    wanted = torch.from_numpy(equation(x.double().numpy())).to(dtype)
    assert torch.equal(module(x), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("function", "equation"), [(h_sigmoid, relu6_of_x_plus_3_over_6), (h_swish, x_times_that)], ids=["sigmoid", "swish"]
)
def test_the_equations_in_half_precision(function: Callable, equation: Callable, dtype: torch.dtype) -> None:
    """Each of their steps rounds; the sum x + 3 loses what lies below 3's last digit."""
    x, eps = every_number(dtype), torch.finfo(dtype).eps
    wanted = torch.from_numpy(equation(x.double().numpy()))
    scale = torch.maximum(wanted.abs(), x.double().abs().clamp(max=3))
    assert torch.all((function(x).double() - wanted).abs() <= 2 * eps * scale.clamp(min=eps))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@each
def test_infinities_and_nan_as_the_equations_have_them(
    computed: Callable, equation: Callable, slope: Callable, dtype: torch.dtype
) -> None:
    """h-swish of minus infinity is infinity times 0: not a number, in the equation as in the kernel."""
    x = torch.tensor([torch.inf, -torch.inf, torch.nan], dtype=dtype)
    with np.errstate(invalid="ignore"):
        wanted = equation(x.double().numpy())
    np.testing.assert_array_equal(computed(x).double().numpy(), wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_subnormal_numbers_are_halved_not_lost(dtype: torch.dtype) -> None:
    least = torch.tensor([2 * torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps] * 2, dtype=dtype)
    x = least * torch.tensor([1, -1], dtype=dtype)
    assert torch.equal(h_swish(x), x / 2)
    torch.testing.assert_close(HSwish()(x), x / 2, rtol=0.5, atol=0)
    assert torch.all(HSwish()(x) != 0)


def test_names_of_the_tables_column() -> None:
    assert set(ACTIVATIONS) == {"relu", "hard_swish"}
    assert isinstance(activation("relu"), nn.ReLU)
    assert isinstance(activation("hard_swish"), HSwish)
    assert activation("hard_swish") is not activation("hard_swish")
