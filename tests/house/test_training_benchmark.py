"""benchmarks/training.py: its contenders train, take turns, and are compared with the plain loop."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import training

CASE = replace(training.CASES[-1], pictures=24, batch_size=8, steps=1)


def test_opens_with_command_and_results() -> None:
    assert training.__doc__
    assert "python -m benchmarks.training" in training.__doc__
    assert "Measured" in training.__doc__


@pytest.mark.parametrize("name", list(training.STEPS))
def test_every_contender_makes_steps(name: str, tmp_path: Path) -> None:
    data = training.make_pictures(tmp_path, CASE)
    steps = training.STEPS[name](replace(CASE, options=()), data, 1)
    losses = list(itertools.islice(steps, 4))  # beyond one epoch
    assert all(math.isfinite(loss) for loss in losses)
    assert len(set(losses)) == 4


def test_rows_and_ratio() -> None:
    rows = training.measure(CASE, 1, 1, ("loader", "network"))
    assert [row.contender for row in rows] == ["loader", "network"]
    assert rows[0].ratio == 1
    assert rows[1].ratio == pytest.approx(rows[1].pictures_per_second / rows[0].pictures_per_second)
    assert rows[1].ratio < 1  # a network's step takes longer than its batch of tiny pictures
    assert "network" in training.table(rows)
