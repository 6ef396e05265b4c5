"""The tools that take a network apart: each gives the same function back, for every kind of network.

torch.fx, torch.export, torch.compile, torch.jit.trace, autocast, channels-last, copying and pickling.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hswish.models import create_model, list_models

Lived = Callable[..., nn.Module]
Maps = Tensor | list[Tensor]

HEADS = ["official", "seed", "torchvision", "fastseg", "raspp"]  # "lraspp" is what the names have by themselves
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in list_models()},
    **{head: ("lraspp_mobilenet_v3_small", {"head": head}) for head in HEADS},
    "same": ("mobilenet_v3_small", {"padding": "same"}),
    "se_before_activation": ("mobilenet_v3_small", {"block_rule": "se_before_activation"}),
    "timm_rw": ("mobilenet_v3_large", {"block_rule": "timm_rw"}),
    "output_stride_8": ("mobilenet_v3_small", {"output_stride": 8, "padding": "same"}),
    "inner_taps": (
        "mobilenet_v3_small",
        {"features_only": True, "taps": ["blocks.2.expand", "stem", "blocks.1.depthwise", "blocks.1"]},
    ),
    "inner_taps_se_before_activation": (
        "mobilenet_v3_small",
        {
            "features_only": True,
            "taps": ["blocks.0.depthwise", "blocks.4.depthwise"],
            "block_rule": "se_before_activation",
        },
    ),
}
FEATURES = ["mobilenet_v3_large", "mobilenet_v3_small", "same", "se_before_activation", "fastseg"]
"""kinds whose backbone alone is tried too; the others' is one of these"""

EVERY = [*((kind, False) for kind in KINDS), *((kind, True) for kind in FEATURES)]


def every_kind(*quick: tuple[str, bool]) -> pytest.MarkDecorator:
    """Each kind, whole or as features; where some are named, the others are left to the slow tests."""
    cases = [
        pytest.param(
            *case,
            id=f"{case[0]}{'-features' if case[1] else ''}",
            marks=pytest.mark.slow if quick and case not in quick else (),
        )
        for case in EVERY
    ]
    return pytest.mark.parametrize(("kind", "features_only"), cases)


def network(kind: str, lived: Lived, features_only: bool = False) -> nn.Module:
    """A narrow network of this kind as after training, in evaluation mode."""
    name, options = KINDS[kind]
    return lived(
        create_model(name, **{"width_mult": 0.35, "num_classes": 5, "features_only": features_only, **options})
    )


def as_list(maps: Maps) -> list[Tensor]:
    return [maps] if isinstance(maps, Tensor) else list(maps)


def distance(computed: Maps, wanted: Maps) -> float:
    """Largest difference of any value, over its map's standard deviation."""
    pairs = zip(as_list(computed), as_list(wanted), strict=True)
    return max(((left.float() - right).abs().max() / right.std()).item() for left, right in pairs)


def batch(pictures: int, height: int, width: int) -> Tensor:
    return torch.randn(pictures, 3, height, width, generator=torch.Generator().manual_seed(height))


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    """Only forward passes here."""
    with torch.no_grad():
        yield


@every_kind()
def test_a_symbolic_trace_is_the_same_function_at_any_size(kind: str, features_only: bool, lived: Lived) -> None:
    model = network(kind, lived, features_only)
    traced = torch.fx.symbolic_trace(model)
    for size in ((2, 64, 64), (1, 45, 70)):
        assert distance(traced(batch(*size)), model(batch(*size))) == 0


@pytest.mark.parametrize("kind", ["mobilenet_v3_small", "official", "fastseg", "raspp", "inner_taps"])
def test_a_symbolic_trace_can_be_stored_and_copied(kind: str, lived: Lived) -> None:
    """torch writes a graph with its annotations, which must be classes and not strings."""
    model = network(kind, lived)
    traced = torch.fx.symbolic_trace(model)
    for other in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
        assert distance(other(batch(1, 45, 70)), model(batch(1, 45, 70))) == 0


@every_kind()
def test_a_copy_is_the_same_network_and_its_own(kind: str, features_only: bool, lived: Lived) -> None:
    model = network(kind, lived, features_only)
    x = batch(2, 45, 64)
    wanted = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert distance(other(x), wanted) == 0
        if features_only:
            assert other.feature_info == model.feature_info
        else:
            assert getattr(other, "description", None) == getattr(model, "description", None)
        for weight in other.parameters():
            weight.zero_()
    assert distance(model(x), wanted) == 0, "the copies shared weights with the network"


@every_kind()
def test_channels_last_is_kept_and_gives_the_same_values(kind: str, features_only: bool, lived: Lived) -> None:
    model = network(kind, lived, features_only)
    x = batch(2, 75, 64)
    wanted = model(x)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    computed = model(x.to(memory_format=torch.channels_last))
    assert distance(computed, wanted) < 1e-4
    for maps in as_list(computed):
        assert maps.dim() == 2 or maps.is_contiguous(memory_format=torch.channels_last)


@every_kind()
def test_autocast_computes_in_half_precision_and_comes_near(kind: str, features_only: bool, lived: Lived) -> None:
    model = network(kind, lived, features_only)
    x = batch(2, 75, 64)
    wanted = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        computed = model(x)
    for rough, exact in zip(as_list(computed), as_list(wanted), strict=True):
        assert rough.dtype == torch.bfloat16
        error = (rough.float() - exact).square().mean().sqrt() / exact.std()
        assert error < 0.2  # three digits through up to fifty layers


@pytest.mark.parametrize("kind", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small", "official", "same"])
def test_a_training_step_under_autocast_reaches_every_weight(kind: str, lived: Lived) -> None:
    model = network(kind, lived).train()
    with torch.enable_grad():
        with torch.autocast("cpu", torch.bfloat16):
            out = model(batch(4, 64, 64))
        out.float().square().mean().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in model.parameters())


DYNAMIC = [*FEATURES[1:4], "lraspp_mobilenet_v3_small", "torchvision", "raspp", "inner_taps"]
WINDOWED = ["official", "fastseg"]


def exported(model: nn.Module, example: Tensor, *dynamic: int) -> nn.Module:
    """The module of a `torch.export` graph with these dimensions left open."""
    auto = torch.export.Dim.AUTO
    return torch.export.export(model, (example,), dynamic_shapes=(dict.fromkeys(dynamic, auto),)).module()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "inner_taps" else pytest.mark.slow) for kind in DYNAMIC]
)
def test_an_exported_graph_takes_any_batch_and_size(kind: str, lived: Lived) -> None:
    model = network(kind, lived)
    program = exported(model, batch(2, 64, 96), 0, 2, 3)
    for size in ((2, 64, 96), (1, 75, 101), (3, 130, 97)):
        assert distance(program(batch(*size)), model(batch(*size))) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mobilenet_v3_large", "same"])
def test_exported_features_take_any_batch_and_size(kind: str, lived: Lived) -> None:
    model = network(kind, lived, features_only=True)
    program = exported(model, batch(2, 64, 96), 0, 2, 3)
    for size in ((2, 64, 96), (1, 75, 101)):
        assert distance(program(batch(*size)), model(batch(*size))) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", WINDOWED)
def test_a_window_pooled_head_exports_at_one_size_and_any_batch(kind: str, lived: Lived) -> None:
    """torch's pooling takes its window as plain numbers, so the size of the picture is fixed in the graph."""
    model = network(kind, lived)
    program = exported(model, batch(2, 64, 96), 0)
    for pictures in (1, 2, 5):
        assert distance(program(batch(pictures, 64, 96)), model(batch(pictures, 64, 96))) < 1e-5
    with pytest.raises(AssertionError):
        program(batch(2, 96, 96))


@every_kind(("mobilenet_v3_small_minimal", False), ("se_before_activation", True))
def test_a_plain_export_is_the_same_function(kind: str, features_only: bool, lived: Lived) -> None:
    model = network(kind, lived, features_only)
    x = batch(2, 45, 64)
    assert distance(exported(model, x)(x), model(x)) < 1e-5


@every_kind(("mobilenet_v3_small", False), ("official", False), ("same", True))
def test_a_jit_trace_is_the_same_function_at_any_size(kind: str, features_only: bool, lived: Lived) -> None:
    """Sizes stay operations in the trace. Only the window of the windowed heads is frozen, on its side of the map."""
    model = network(kind, lived, features_only)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        if kind in WINDOWED or features_only or kind.startswith("inner_taps"):
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # also warns of any list of outputs
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model, batch(2, 64, 96), strict=False)
    for size in ((2, 64, 96), (1, 75, 101)):
        assert distance(traced(batch(*size)), model(batch(*size))) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "features_only"),
    [
        ("mobilenet_v3_small", True),
        ("lraspp_mobilenet_v3_small", False),
        ("official", False),
        ("fastseg", False),
        ("raspp", False),
        ("same", False),
        ("se_before_activation", True),
        ("inner_taps", False),
    ],
)
def test_a_compiled_network_is_the_same_function(
    kind: str, features_only: bool, lived: Lived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "TORCHINDUCTOR_CACHE_DIR", str(tmp_path)
    )  # a run cut short leaves broken files in the common one
    torch._dynamo.reset()
    model = network(kind, lived, features_only)
    compiled = torch.compile(model, fullgraph=True)
    for size in ((2, 64, 64), (1, 75, 101)):
        assert distance(compiled(batch(*size)), model(batch(*size))) < 1e-3
