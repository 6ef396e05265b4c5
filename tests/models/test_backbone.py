"""Feature maps: their sizes, their names, and what atrous convolution keeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hswish.models import FeatureExtractor, create_model, list_models
from hswish.models.backbone import Backbone, default_taps, feature_table
from hswish.spec.architecture import Options, resolve
from hswish.spec.errors import OptionError

CLASSIFIERS = [name for name in list_models() if not name.startswith("lraspp_")]
Lived = Callable[..., nn.Module]


def extractor(name: str = "mobilenet_v3_small", **options: object) -> FeatureExtractor:
    model = create_model(name, features_only=True, **options)  # type: ignore[arg-type]
    assert isinstance(model, FeatureExtractor)
    return model.eval()


def all_taps(name: str, **options: int) -> list[str]:
    return list(feature_table(resolve(name, **options)))


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("name", list_models())
def test_every_map_has_the_channels_and_stride_it_announces(name: str, output_stride: int) -> None:
    model = extractor(name, width_mult=0.35, output_stride=output_stride, taps=all_taps(name))
    for height, width in ((64, 96), (33, 57), (97, 31), (1, 1)):
        with torch.no_grad():
            maps = model(torch.randn(1, 3, height, width))
        for info, tensor in zip(model.feature_info, maps, strict=True):
            wanted = (1, info.channels, -(-height // info.stride), -(-width // info.stride))
            assert tensor.shape == wanted, info
    assert max(info.stride for info in model.feature_info) == output_stride


def test_channels_and_strides_are_the_tables() -> None:
    large = {info.name: (info.channels, info.stride) for info in extractor("mobilenet_v3_large").feature_info}
    assert large == {
        "blocks.0": (16, 2),
        "blocks.2": (24, 4),
        "blocks.5": (40, 8),
        "blocks.11": (112, 16),
        "last": (960, 32),
    }
    small = {info.name: (info.channels, info.stride) for info in extractor("mobilenet_v3_small").feature_info}
    assert small == {"stem": (16, 2), "blocks.0": (16, 4), "blocks.2": (24, 8), "blocks.7": (48, 16), "last": (576, 32)}


def test_the_taps_that_other_heads_use() -> None:
    table = feature_table(resolve("mobilenet_v3_large"))
    assert (table["blocks.12.expand"].channels, table["blocks.12.expand"].stride) == (672, 16)  # SSDLite's C4
    assert (table["blocks.5.depthwise"].channels, table["blocks.5.depthwise"].stride) == (120, 8)  # LR-ASPP's skip
    table = feature_table(resolve("mobilenet_v3_small"))
    assert (table["blocks.8.expand"].channels, table["blocks.8.expand"].stride) == (288, 16)
    assert (table["blocks.2.depthwise"].channels, table["blocks.2.depthwise"].stride) == (88, 8)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_default_taps_hold_each_stride_once_and_end_with_the_last_convolution(name: str, output_stride: int) -> None:
    arch = resolve(name, output_stride=output_stride)
    strides = [feature_table(arch)[tap].stride for tap in default_taps(arch)]
    assert strides == [stride for stride in (2, 4, 8, 16, 32) if stride <= output_stride]
    assert default_taps(arch)[-1] == "last"


@pytest.mark.parametrize("name", list_models())
def test_weights_fit_every_output_stride(name: str) -> None:
    models = [create_model(name, width_mult=0.35, num_classes=5, output_stride=stride) for stride in (32, 16, 8)]
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1] == shapes[2]
    models[1].load_state_dict(models[0].state_dict(), strict=True)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("size", [(64, 64), (75, 101)])
def test_atrous_convolution_computes_the_same_network_more_densely(
    name: str, size: tuple[int, int], lived: Lived
) -> None:
    """Every second (fourth) pixel of the denser map is the plain map, exactly.

    Squeeze-and-excitation is left out: its pooling sees all pixels of the denser map.
    """
    backbones = []
    for output_stride in (32, 16, 8):
        torch.manual_seed(0)
        backbone = Backbone(resolve(name, width_mult=0.35, output_stride=output_stride))
        for block in backbone.blocks:
            block.se = nn.Identity()
        backbones.append(backbone.double().eval())
    lived(backbones[0])
    for backbone in backbones[1:]:
        backbone.load_state_dict(backbones[0].state_dict())
    with torch.no_grad():
        plain, half, quarter = (
            backbone(torch.randn(2, 3, *size, generator=seeded()).double()) for backbone in backbones
        )
    assert plain.std() > 0.1
    torch.testing.assert_close(half[..., ::2, ::2], plain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(quarter[..., ::4, ::4], plain, rtol=1e-9, atol=1e-9)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_taps_are_what_their_modules_put_out(name: str, lived: Lived) -> None:
    taps = all_taps(name)
    model = extractor(name, width_mult=0.35, taps=taps)
    lived(model)
    seen: dict[str, Tensor] = {}
    for path, module in model.backbone.named_modules():
        if path in taps:
            module.register_forward_hook(lambda _module, _inputs, out, path=path: seen.update({path: out}))
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        plain = model.backbone(x)
        wanted = dict(seen)
        maps = dict(zip(taps, model(x), strict=True))
    assert wanted.keys() == set(taps)
    for tap in taps:
        assert torch.equal(maps[tap], wanted[tap]), tap
    assert torch.equal(maps["last"], plain)


def test_maps_come_in_the_order_asked_for() -> None:
    model = extractor(width_mult=0.35, taps=["blocks.4", "stem", "blocks.4.expand", "stem"])
    assert [info.name for info in model.feature_info] == ["blocks.4", "stem", "blocks.4.expand", "stem"]
    maps = model(torch.randn(1, 3, 32, 32))
    assert [tensor.shape[1] for tensor in maps] == [info.channels for info in model.feature_info]
    assert torch.equal(maps[1], maps[3])


@pytest.mark.parametrize("wrong", ["blocks.5.expnd", "blocks.55", "las", "blocks.-1", "blocks.5.", "", "backbone.last"])
def test_an_unknown_tap_is_refused(wrong: str) -> None:
    with pytest.raises(OptionError, match="unknown feature map"):
        extractor(taps=["stem", wrong])


def test_the_nearest_tap_is_offered() -> None:
    with pytest.raises(OptionError, match=r"did you mean .*blocks\.5\.expand"):
        extractor(taps=["blocks.5.expnd"])


each_order_of_a_block = pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v3_large", {}),
        ("mobilenet_v3_small", {"padding": "same"}),
        ("mobilenet_v3_small", {"block_rule": "se_before_activation"}),
    ],
)


@each_order_of_a_block
def test_no_tap_leaves_idle_weights(name: str, options: dict[str, Any]) -> None:
    for tap in all_taps(name):
        model = extractor(name, width_mult=0.1, taps=["stem", tap], **options)
        model(torch.randn(1, 3, 32, 32))[1].sum().backward()
        idle = [key for key, weight in model.named_parameters() if weight.grad is None]
        assert not idle, tap


@each_order_of_a_block
def test_a_truncated_network_is_the_beginning_of_the_whole(name: str, options: dict[str, Any], lived: Lived) -> None:
    taps = all_taps(name)
    whole = extractor(name, width_mult=0.1, taps=taps, **options)
    lived(whole)
    x = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        wanted = dict(zip(taps, whole(x), strict=True))
        for tap in taps:
            part = extractor(name, width_mult=0.1, taps=[tap], **options)
            keys = part.state_dict().keys()
            part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in keys}, strict=True)
            assert torch.equal(part(x)[0], wanted[tap]), tap


def with_every_tap(name: str, padding: str) -> FeatureExtractor:
    return extractor(name, width_mult=0.1, padding=padding, taps=all_taps(name))


_ALL_MAPS = {
    (name, padding): with_every_tap(name, padding)
    for name in ("mobilenet_v3_large", "mobilenet_v3_small")
    for padding in ("symmetric", "same")
}


@settings(max_examples=30)
@given(which=st.sampled_from(list(_ALL_MAPS)), height=st.integers(1, 130), width=st.integers(1, 130))
def test_every_map_is_the_input_over_its_stride_rounded_up(which: tuple[str, str], height: int, width: int) -> None:
    model = _ALL_MAPS[which]
    with torch.no_grad():
        maps = model(torch.randn(1, 3, height, width))
    wanted = [(info.channels, -(-height // info.stride), -(-width // info.stride)) for info in model.feature_info]
    assert [tuple(tensor.shape[1:]) for tensor in maps] == wanted


def test_other_inputs_give_other_maps(lived: Lived) -> None:
    model = lived(extractor(width_mult=0.35))
    with torch.no_grad():
        runs = [model(torch.randn(1, 3, 64, 64)) for _ in range(3)]
    for one, other in itertools.combinations(runs, 2):
        assert all((left - right).abs().max() > 0.1 for left, right in zip(one, other, strict=True))


def test_options_reach_every_batch_norm() -> None:
    backbone = Backbone(resolve("mobilenet_v3_large", bn_eps=1e-5, bn_momentum=0.1))
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
    assert (Options().bn_eps, Options().bn_momentum) == (1e-3, 0.01)
