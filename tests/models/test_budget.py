"""The counts of the built torch modules against every published figure, and layer by layer against `spec.budget`.

Parameters are counted by their elements, multiply-adds by watching each convolution and linear layer run.
The figures stand in `tests/spec/budget_figures.py`; nothing here asks `spec.budget` for them. Modules
run on torch's meta device, which knows shapes and computes no number, so that 1024 x 2048 costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from hswish.models import DescribedModule, create_model, list_models
from hswish.models.factory import build
from hswish.spec.architecture import Architecture, resolve
from hswish.spec.budget import layer_costs
from hswish.spec.published import Printed, PublishedRow, network_of
from tests.spec.budget_figures import FIGURES, PUBLISHED, Figure, disagreement


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer as it ran."""

    name: str
    output: tuple[int, int, int]
    """(channels, height, width)"""
    parameters: int
    """with its batch norm's"""
    multiply_adds: int
    additions: int
    """of its bias"""


def measure(model: nn.Module, height: int, width: int, device: str = "cpu") -> list[Layer]:
    """Every layer of `model` while it sees one (height, width) picture, in the order of the modules."""
    outputs: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, out: outputs.update({name: tuple(out.shape[1:])})

    layers = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    handles = [module.register_forward_hook(note(name)) for name, module in layers.items()]
    first = next(module for module in layers.values() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        model.eval()(torch.zeros(1, first.in_channels, height, width, device=device))
    for handle in handles:
        handle.remove()
    return [_layer(model, name, module, outputs[name]) for name, module in layers.items()]


def _layer(model: nn.Module, name: str, module: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> Layer:
    channels, height, width = (*shape, 1, 1)[:3]
    owner = model.get_submodule(name.removesuffix(".conv")) if name.endswith(".conv") else module
    return Layer(
        name=name.removesuffix(".conv"),
        output=(channels, height, width),
        parameters=sum(weight.numel() for weight in owner.parameters()),
        multiply_adds=module.weight.numel() * height * width,
        additions=module.bias.numel() * height * width if module.bias is not None else 0,
    )


@cache
def built(arch: Architecture) -> DescribedModule:
    with torch.device("meta"):
        return build(arch)


def parameters_of(arch: Architecture) -> int:
    return sum(weight.numel() for weight in built(arch).parameters())


@cache
def run(arch: Architecture, size_px: tuple[int, int]) -> list[Layer]:
    return measure(built(arch), *size_px, device="meta")


def multiply_adds_of(arch: Architecture, size_px: tuple[int, int]) -> int:
    return sum(layer.multiply_adds for layer in run(arch, size_px))


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_figures_that_sources_agree_on(figure: Figure) -> None:
    arch = resolve(figure.model, **figure.options)
    if figure.parameters is not None:
        assert Printed(figure.parameters).of(parameters_of(arch)) == figure.parameters
    if figure.multiply_adds is not None:
        assert Printed(figure.multiply_adds).of(multiply_adds_of(arch, figure.size_px)) == figure.multiply_adds


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.source}: {row.model} {row.options} {row.size_px}")
def test_published_rows(row: PublishedRow) -> None:
    arch = network_of(row)
    if row.parameters:
        assert not disagreement(row, "parameters", row.parameters, parameters_of(arch))
    if row.multiply_adds:
        assert not disagreement(row, "multiply_adds", row.multiply_adds, multiply_adds_of(arch, row.size_px))


@pytest.mark.parametrize(
    "row", [row for row in PUBLISHED if row.source.startswith("d-li14")], ids=lambda row: f"{row.model} {row.options}"
)
def test_d_li14_counts_the_biases_too(row: PublishedRow) -> None:
    """Why its figures are up to 0.01 M above ours."""
    layers = run(network_of(row), row.size_px)
    assert row.multiply_adds is not None
    total = sum(layer.multiply_adds + layer.additions for layer in layers)
    assert row.multiply_adds.of(total) == row.multiply_adds.text


# --- Layer by layer ------------------------------------------------------------------------

ANY_NETWORK: list[dict[str, Any]] = [
    {"width_mult": 0.35, "in_channels": 1, "num_classes": 7},
    {"width_mult": 0.5, "width_rule": "torchvision", "output_stride": 8},
    {"width_mult": 0.35, "width_rule": "timm", "padding": "same"},
    {"width_mult": 1.25, "width_rule": "keras", "padding": "same", "output_stride": 16},
    {"reduced_tail": True, "head_channels": 40, "output_stride": 32},
    {"reduced_tail": True, "tail": "detection", "atrous_rule": "torchvision", "output_stride": 16},
    {"depth_mult": 1.2, "width_mult": 0.5},
    {"block_rule": "timm_rw"},
    {"block_rule": "se_before_activation"},
]
HEADS = ["official", "seed", "torchvision", "fastseg", "raspp"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in list_models()),
        *((name, options) for name in ("mobilenet_v3_large", "lraspp_mobilenet_v3_small") for options in ANY_NETWORK),
        *(("lraspp_mobilenet_v3_large", {"head": head}) for head in HEADS),
        *(("lraspp_mobilenet_v3_small", {"head": head, "output_stride": 32, "width_mult": 0.5}) for head in HEADS),
    ],
    ids=str,
)
def test_the_budget_is_the_modules_layer_by_layer(name: str, options: dict[str, Any]) -> None:
    arch = resolve(name, **options)
    for size_px in ((33, 71), (1025, 2049)):
        wanted = [
            (layer.name, layer.output, layer.parameters, layer.multiply_adds) for layer in layer_costs(arch, *size_px)
        ]
        ran = [(layer.name, layer.output, layer.parameters, layer.multiply_adds) for layer in run(arch, size_px)]
        assert ran == wanted
    assert parameters_of(arch) == sum(parameters for *_, parameters, _ in wanted)


@pytest.mark.parametrize("name", list_models())
def test_a_network_that_computes_has_the_same_shapes(name: str) -> None:
    """The meta device is no excuse: a real picture through a real network gives the same account."""
    model = create_model(name, width_mult=0.35)
    assert isinstance(model, DescribedModule)
    assert measure(model, 75, 101) == run(model.architecture, (75, 101))
    assert all(weight.requires_grad for weight in model.parameters())
