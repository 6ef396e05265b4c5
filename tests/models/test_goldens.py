"""Every stage of every named network, and of each option, against the float64 reference.

`golden_cases.py` made the numbers with `reference_network.py`, which shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hswish.models import create_model, list_models
from hswish.models.backbone import Backbone, feature_table
from hswish.spec.architecture import resolve
from tests.models.adapters.golden import formula_weights
from tests.models.golden_cases import (
    CASES,
    FOLDER,
    NAMED,
    VARIANTS,
    Case,
    picture,
    read_golden,
    reference_stages,
    summary,
)
from tests.models.reference_network import shapes_of

TOLERANCE = 2e-5
"""float32 against float64 through up to 50 layers, as a part of the stage's standard deviation"""

Stages = dict[str, Tensor]


def filled(case: Case) -> nn.Module:
    """The package's network with the weights of the case, in evaluation mode."""
    model = create_model(case.name, **case.options)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = formula_weights(shapes, gain=case.gain)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model.eval()


def stages(model: nn.Module, x: Tensor) -> Stages:
    """What the package's network computes on its way: every tap, the head's inner tensors, the logits."""
    backbone, head = model.backbone, model.head
    assert isinstance(backbone, Backbone)
    assert isinstance(head, nn.Module)
    seen: Stages = {}
    inner = {"pool": "pooled", "features": "features", "sigmoid": "gate", "act": "hidden"}
    for part, name in inner.items():
        if isinstance(module := getattr(head, part, None), nn.Module):
            module.register_forward_hook(lambda _module, _inputs, out, name=name: seen.update({name: out}))
    head.register_forward_hook(lambda _module, _inputs, out: seen.update(scores=out))
    with torch.no_grad():
        seen["logits"] = model(x)
        arch = model.architecture
        names = list(feature_table(arch))  # type: ignore[arg-type]
        seen |= zip(names, backbone.taps(x, names), strict=True)
    if seen["logits"].dim() == 2:
        seen["pooled"] = seen["pooled"].flatten(1)
        del seen["scores"]  # the logits themselves
    return seen


def differences(computed: Stages, golden: dict[str, list[object]]) -> Iterator[tuple[str, float]]:
    """(stage, largest difference of its mean, deviation or samples over its standard deviation)."""
    for name, (shape, *numbers) in golden.items():
        found, *values = summary(computed[name].double().numpy())
        wanted = np.array(numbers, np.float64)
        yield name, np.inf if found != shape else np.abs(np.array(values) - wanted).max() / wanted[1]


@pytest.mark.parametrize("label", CASES)
def test_every_stage_is_the_reference(label: str) -> None:
    case, golden = CASES[label], read_golden(label)
    computed = stages(filled(case), torch.from_numpy(picture(case)).float())
    assert computed.keys() == golden.keys()
    wrong = {name: value for name, value in differences(computed, golden) if not value < TOLERANCE}
    assert not wrong


@pytest.mark.parametrize("label", CASES)
def test_every_tensor_has_the_references_name_and_shape(label: str) -> None:
    case = CASES[label]
    shapes = {
        key: tuple(value.shape)
        for key, value in create_model(case.name, **case.options).state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert shapes == shapes_of(case.reading)


def test_each_named_network_has_a_golden_and_each_golden_a_case() -> None:
    assert set(NAMED) == set(list_models())
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)
    assert max(path.stat().st_size for path in FOLDER.iterdir()) < 50_000


@pytest.mark.parametrize("label", ["mobilenet_v3_small", "same_small", "official_16_windows", "fastseg_small_windows"])
def test_the_reference_still_makes_the_golden(label: str) -> None:
    made = {name: summary(stage) for name, stage in reference_stages(CASES[label]).items()}
    golden = read_golden(label)
    assert made.keys() == golden.keys()
    for name, (shape, *numbers) in golden.items():
        assert made[name][0] == shape
        np.testing.assert_allclose(made[name][1:], numbers, rtol=1e-6, atol=1e-6 * numbers[1])


@pytest.mark.parametrize(
    ("label", "option", "first"),
    [
        ("same_small", {"padding": "symmetric"}, "stem"),
        ("se_before_activation_small", {"block_rule": "paper"}, "blocks.3.depthwise"),
        ("timm_rw", {"block_rule": "paper"}, "blocks.0"),
        ("narrow_head_grey", {"bn_eps": 1e-3}, "stem"),
        ("output_stride_8_torchvision", {"atrous_rule": "tensorflow"}, "blocks.3.depthwise"),
        ("official_16_windows", {"head": "lraspp"}, "features"),
        ("seed_small", {"head": "torchvision", "num_classes": 19, "atrous_rule": "tensorflow"}, "features"),
    ],
)
def test_the_goldens_tell_the_readings_apart(label: str, option: dict[str, object], first: str) -> None:
    """The same weights in another reading: the first stage that may differ does, by far."""
    case = CASES[label]
    other = create_model(case.name, **{**case.options, **option}).eval()
    state = filled(case).state_dict()
    wanted = other.state_dict()
    shared = {key: value for key, value in state.items() if key in wanted and wanted[key].shape == value.shape}
    other.load_state_dict(shared, strict=False)
    computed = stages(other, torch.from_numpy(picture(case)).float())
    golden = {name: line for name, line in read_golden(label).items() if name in computed}
    wrong = {name: value for name, value in differences(computed, golden) if not value < 5 * TOLERANCE}
    assert next(iter(wrong)) == first


def test_the_cases_cover_every_choice_of_the_options() -> None:
    options = [resolve(case.name, **case.options).options for case in CASES.values()]
    for field, values in {
        "width_rule": {"tensorflow", "torchvision", "timm", "keras"},
        "block_rule": {"paper", "se_before_activation", "timm_rw"},
        "padding": {"symmetric", "same"},
        "atrous_rule": {"tensorflow", "torchvision"},
        "output_stride": {8, 16, 32},
        "reduced_tail": {False, True},
        "head": {None, "lraspp", "official", "seed", "torchvision", "fastseg", "raspp"},
    }.items():
        assert {getattr(option, field) for option in options} == values
    assert len(VARIANTS) > 20
