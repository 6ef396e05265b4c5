"""Learning rates against the formulas written out."""

from __future__ import annotations

import math

import pytest

from hswish.train import Recipe
from hswish.train.optim.schedule import learning_rate


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


@pytest.mark.parametrize(("factor", "every"), [(0.99, 3.0), (0.973, 2.0), (0.973, 2.4)])
def test_steps(factor: float, every: float) -> None:
    """The paper's, torchvision's and timm's: counted by hand, step after step."""
    recipe = Recipe(epochs=24, lr=0.1, warmup_epochs=0, schedule="step", step_factor=factor, step_epochs=every)
    rate, boundary = 0.1, every
    for step in range(24 * 10):
        if step / 10 >= boundary - 1e-9:
            rate, boundary = rate * factor, boundary + every
        assert learning_rate(step, 10, recipe) == pytest.approx(rate)


def test_a_run_shorter_than_its_warm_up_still_reaches_the_full_rate_half_way() -> None:
    recipe = Recipe(epochs=1, lr=1.0, warmup_epochs=5)
    rates = [learning_rate(step, 10, recipe) for step in range(10)]
    assert max(rates) == 1.0
    assert rates.index(1.0) in (4, 5)
    assert all(0 < rate <= 1 for rate in rates)
