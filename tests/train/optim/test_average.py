"""The average of weights against its recurrence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hswish.train.optim.average import Average


def test_average_is_the_recurrence_with_a_warm_up() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, decay=0.9)
    expected = torch.ones(1)
    for step in range(30):
        with torch.no_grad():
            model.weight.fill_(float(step))
            model.running_mean.fill_(float(-step))
            model.num_batches_tracked += 1
        average.update_parameters(model)
        decay = min(0.9, (1 + step) / (10 + step))
        # torch's AveragedModel copies at the first update
        expected = torch.tensor([float(step)]) if step == 0 else decay * expected + (1 - decay) * step
    assert average.module.weight.item() == pytest.approx(expected.item(), rel=1e-6)
    assert average.module.running_mean.item() == pytest.approx(-expected.item(), rel=1e-6)
    assert int(average.module.num_batches_tracked) == 30


def test_nothing_is_asked_of_the_device() -> None:
    """On `meta` there is no value to give, as there is none while a GPU records."""
    average = Average(nn.BatchNorm2d(4, device="meta"), decay=0.9)
    average.update_parameters(nn.BatchNorm2d(4, device="meta"))
