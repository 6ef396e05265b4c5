"""Batch-norm statistics measured anew, against sums over all pixels of all batches."""

from __future__ import annotations

import copy

import torch

from hswish.models import DescribedModule, create_model
from hswish.train.recalibrate import recalibrate


def test_statistics_are_those_of_the_batches_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    model = create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35).eval()
    assert isinstance(model, DescribedModule)
    batches = [torch.randn(4, 3, 32, 32) * (1 + place) for place in range(3)]
    before = copy.deepcopy(model.state_dict())
    recalibrate(model, batches, torch.device("cpu"))
    norm = model.get_submodule("backbone.stem.norm")
    maps = [model.get_submodule("backbone.stem.conv")(batch).movedim(1, 0).flatten(1) for batch in batches]
    mean = torch.stack([values.mean(1) for values in maps]).mean(0)
    variance = torch.stack([values.var(1, unbiased=True) for values in maps]).mean(0)
    assert torch.allclose(norm.running_mean, mean, atol=1e-5)
    assert torch.allclose(norm.running_var, variance, rtol=1e-4)
    assert not model.training
    for key, value in model.state_dict().items():
        assert ("norm" in key and "running" in key) or "num_batches" in key or torch.equal(value, before[key]), key
    once = copy.deepcopy(model.state_dict())
    recalibrate(model, batches, torch.device("cpu"))
    assert all(torch.equal(value, once[key]) for key, value in model.state_dict().items())
