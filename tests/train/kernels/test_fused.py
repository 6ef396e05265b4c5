"""Training by the native kernels is training by torch, up to rounding."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hswish.models import DescribedModule, create_model
from hswish.runtime.native import NativeAbsentError
from hswish.runtime.native.library import library
from hswish.train.kernels.fused import fuse

try:
    library("a test")
    ABSENT = False
except NativeAbsentError:
    ABSENT = True
needs_engine = pytest.mark.skipif(ABSENT, reason="this install has no compiled engine: there was no C++ compiler")


def network(name: str, **options: Any) -> DescribedModule:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, width_mult=0.35, dropout=0.0, **options)
    assert isinstance(model, DescribedModule)
    return model.to(memory_format=torch.channels_last)


def gradients(model: nn.Module, half: bool = False) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits and gradients of one step on fixed pictures."""
    kind = next(model.parameters()).dtype
    pictures = torch.randn(4, 3, 40, 56, generator=torch.Generator().manual_seed(1)).to(kind)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(pictures.contiguous(memory_format=torch.channels_last))
    # .view: the gradient of a sum alone would be the same everywhere, which batch norm takes away
    (logits.double() * torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view(logits.shape)).sum().backward()
    return logits.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@needs_engine
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v3_small", {}),
        ("mobilenet_v3_large", {"padding": "same"}),
        ("mobilenet_v3_small_minimal", {}),
        ("lraspp_mobilenet_v3_small", {}),
        ("lraspp_mobilenet_v3_large", {"output_stride": 8}),
    ],
)
def test_a_step_is_torchs_step(name: str, options: dict[str, Any]) -> None:
    """Against float64, with an error no larger than torch's own in float32, or a few roundings."""
    plain = network(name, **options)
    exact, fused = copy.deepcopy(plain).double(), copy.deepcopy(plain)
    assert fuse(fused) > 20
    truth, plains, ours = gradients(exact), gradients(plain), gradients(fused)
    assert set(ours[1]) == set(plains[1]) == set(truth[1])
    for weight, wanted in truth[1].items():
        scale = wanted.abs().max().clamp(min=1e-2)
        error, theirs = (((found[1][weight] - wanted).abs().max() / scale).item() for found in (ours, plains))
        assert error < max(4 * theirs, 2e-4), weight
    wanted = dict(exact.named_buffers())
    for buffer, value in fused.named_buffers():
        assert torch.allclose(value.double(), wanted[buffer].double(), rtol=1e-4, atol=1e-5), buffer


@needs_engine
def test_weights_that_do_not_learn_get_no_gradient() -> None:
    """And the others the same as by torch, those before the frozen gates too."""
    plain = network("mobilenet_v3_small")
    for name, weight in plain.named_parameters():
        weight.requires_grad_(".se.reduce" not in name)
    fused = copy.deepcopy(plain)
    fuse(fused)
    ours, theirs = gradients(fused)[1], gradients(plain)[1]
    assert set(ours) == set(theirs)
    assert not any(".se.reduce" in name for name in ours)
    assert any(".se.expand" in name for name in ours)
    for name, wanted in theirs.items():
        scale = wanted.abs().max().clamp(min=1e-2)
        assert ((ours[name] - wanted).abs().max() / scale).item() < 1e-2, name


@needs_engine
def test_bfloat16_learns_what_torchs_does() -> None:
    plain = network("mobilenet_v3_small")
    fused = copy.deepcopy(plain)
    fuse(fused)
    _, truth = gradients(copy.deepcopy(plain).double())
    _, ours = gradients(fused, half=True)
    _, theirs = gradients(plain, half=True)
    agreement = [
        torch.nn.functional.cosine_similarity(found.double().flatten(), wanted.flatten(), dim=0).item()
        for name, wanted in truth.items()
        for found in (ours[name], theirs[name])
        if wanted.numel() > 64
    ]
    mine, torchs = sum(agreement[::2]), sum(agreement[1::2])
    assert mine > torchs - 0.05 * len(agreement[::2])


@needs_engine
def test_what_the_kernels_do_not_cover_stays_torchs() -> None:
    model = network("mobilenet_v3_small")
    pictures = torch.randn(2, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = model.eval()(pictures)
    fuse(model)
    assert torch.equal(model(pictures), wanted)
    assert model.state_dict().keys() == before.keys()
    model.train()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()  # a frozen norm
    model(pictures).sum().backward()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert fuse(create_model("mobilenet_v3_small").double()) > 0
    assert model.double()(pictures.double()).dtype == torch.float64


@needs_engine
def test_one_value_a_channel_is_refused_as_by_torch() -> None:
    model = network("mobilenet_v3_small")
    fuse(model)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model.train()(torch.randn(1, 3, 32, 32))


def test_without_the_engine_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(purpose: str) -> None:
        raise NativeAbsentError(purpose)

    monkeypatch.setattr("hswish.train.kernels.fused.library", absent)
    assert fuse(network("mobilenet_v3_small")) == 0
