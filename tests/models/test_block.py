"""The block against a slow, obvious one in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hswish.models.block import ConvNormAct, InvertedResidual, SqueezeExcite, pad_same
from hswish.spec.architecture import Block, Options, resolve
from tests.models import reference as ref
from tests.models.reference import Floats, Padding

Weights = dict[str, Floats]


def convolve_by_definition(
    x: Floats, weight: Floats, stride: int, dilation: int, depthwise: bool, padding: Padding
) -> Floats:
    """One output pixel after the other."""
    kernel, reach = weight.shape[-1], (weight.shape[-1] - 1) * dilation
    outs = [-(-size // stride) for size in x.shape[2:]]
    before = [reach // 2, reach // 2]
    if padding == "same":
        before = [
            max((out - 1) * stride + reach + 1 - size, 0) // 2 for out, size in zip(outs, x.shape[2:], strict=True)
        ]
    out = np.zeros((len(x), len(weight), *outs))
    for n, channel, row, column in np.ndindex(*out.shape):
        for i, j in np.ndindex(kernel, kernel):
            y, z = row * stride + i * dilation - before[0], column * stride + j * dilation - before[1]
            if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                seen = x[n, [channel] if depthwise else slice(None), y, z]
                out[n, channel, row, column] += np.dot(seen, weight[channel, :, i, j])
    return out


def reference(x: Floats, block: Block, weights: Weights, padding: Padding) -> tuple[Floats, Floats, Floats]:
    """Expand, depthwise, squeeze-and-excitation, project, residual (facts of all the known code bases)."""
    nonlinear = ref.relu if block.act == "relu" else ref.hard_swish
    inside = ref.relu if block.se_act == "relu" else ref.hard_swish
    wide = x
    if block.expand_channels != block.in_channels:
        wide = nonlinear(normalise(ref.convolve(x, weights["expand.conv.weight"]), weights, "expand"))
    kernel = weights["depthwise.conv.weight"]
    deep = ref.convolve(wide, kernel, stride=block.stride, dilation=block.dilation, depthwise=True, padding=padding)
    deep = normalise(deep, weights, "depthwise")
    if block.se_first:
        deep = scaled = nonlinear(squeeze_excite(deep, weights, "se.", inside))
    else:
        deep = nonlinear(deep)
        scaled = squeeze_excite(deep, weights, "se.", inside) if block.se_channels else deep
    out = normalise(ref.convolve(scaled, weights["project.conv.weight"]), weights, "project")
    return wide, deep, out + x if block.has_residual else out


def normalise(x: Floats, weights: Weights, name: str) -> Floats:
    return ref.normalise(x, weights, f"{name}.norm", eps=0.001)


def squeeze_excite(x: Floats, weights: Weights, prefix: str = "", act: Callable[[Floats], Floats] = ref.relu) -> Floats:
    parts = [weights[f"{prefix}{part}"] for part in ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias")]
    reduced = act(ref.convolve(ref.global_mean(x), parts[0], parts[1]))
    return x * ref.hard_sigmoid(ref.convolve(reduced, parts[2], parts[3]))


def as_numpy(module: nn.Module) -> Weights:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


READINGS: list[dict[str, object]] = [
    {},
    {"output_stride": 8},
    {"output_stride": 8, "atrous_rule": "torchvision"},
    {"block_rule": "se_before_activation"},
    {"block_rule": "timm_rw"},
]


def distinct_blocks() -> list[Block]:
    """Every kind of row: both tables narrow, plain and dilated, without squeeze-and-excitation, in each block rule."""
    found: dict[tuple[object, ...], Block] = {}
    for name in ("mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v3_large_minimal"):
        for options in READINGS:
            for block in resolve(name, width_mult=0.1, **options).backbone.blocks:
                kind = (block.kernel, block.stride, block.dilation, bool(block.se_channels), block.act)
                rule = (block.has_expand, block.has_residual, block.se_first, block.se_act)
                found.setdefault((*kind, *rule), block)
    return list(found.values())


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("block", distinct_blocks(), ids=repr)
def test_the_block_is_the_reference(block: Block, padding: Padding, lived: Callable[..., nn.Module]) -> None:
    module = InvertedResidual(block, Options(padding=padding)).double()
    lived(module)
    x = np.random.default_rng(0).normal(size=(2, block.in_channels, 6, 7))
    wanted = reference(x, block, as_numpy(module), padding)
    with torch.no_grad():
        maps = module.maps(torch.from_numpy(x))
        out = module(torch.from_numpy(x))
    for computed, expected in zip(maps, wanted, strict=True):
        np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(out, maps.out)
    assert out.std() > 0.1, "the signal got through"
    assert (out < 0).any(), "nothing non-linear after the projection"


def test_the_distinct_blocks_hold_every_rule() -> None:
    blocks = distinct_blocks()
    assert {block.kernel for block in blocks} == {3, 5}
    assert {block.dilation for block in blocks} == {1, 2, 4}
    assert {block.has_expand for block in blocks} == {block.has_residual for block in blocks} == {True, False}
    assert {block.se_first for block in blocks} == {True, False}
    assert {block.se_act for block in blocks} == {"relu", "hard_swish"}


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    kernel=st.sampled_from([1, 3, 5]),
    how=st.sampled_from([(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)]),
    depthwise=st.booleans(),
    padding=st.sampled_from(["symmetric", "same"]),
)
def test_the_references_convolution_is_the_definition(
    height: int, width: int, kernel: int, how: tuple[int, int], depthwise: bool, padding: Padding
) -> None:
    random, (stride, dilation) = np.random.default_rng(height), how
    x, weight = (
        random.normal(size=(2, 3, height, width)),
        random.normal(size=(3, 1 if depthwise else 3, kernel, kernel)),
    )
    computed = ref.convolve(x, weight, stride=stride, dilation=dilation, depthwise=depthwise, padding=padding)
    wanted = convolve_by_definition(x, weight, stride, dilation, depthwise, padding)
    np.testing.assert_allclose(computed, wanted, rtol=1e-9, atol=1e-9)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2, 4]),
    padding=st.sampled_from(["symmetric", "same"]),
)
def test_convolutions_give_ceil_of_size_over_stride(
    height: int, width: int, kernel: int, stride: int, dilation: int, padding: Padding
) -> None:
    """And the reference's values; a stride is never dilated here."""
    dilation = 1 if stride > 1 else dilation
    module = ConvNormAct(3, 4, Options(padding=padding), kernel=kernel, stride=stride, dilation=dilation).double()
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        computed = module.conv(x).numpy()
    weight = module.conv.weight.detach().numpy()
    wanted = ref.convolve(x.numpy(), weight, stride=stride, dilation=dilation, padding=padding)
    assert computed.shape == (1, 4, -(-height // stride), -(-width // stride))
    np.testing.assert_allclose(computed, wanted, rtol=1e-9, atol=1e-9)


def test_same_padding_is_tensorflows() -> None:
    """On an even size the odd zero stands below and on the right; on an odd size both paddings agree."""
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    padded = pad_same(x, kernel=3, stride=2)
    assert torch.equal(padded[..., :6, :6], x)
    assert padded.shape == (1, 1, 7, 7)
    assert pad_same(x, kernel=5, stride=2).shape == (1, 1, 9, 9)
    assert torch.equal(pad_same(x, kernel=5, stride=2)[..., 1:7, 1:7], x)
    assert torch.equal(pad_same(x[..., :5, :5], kernel=3, stride=2)[..., 1:6, 1:6], x[..., :5, :5])


def test_squeeze_excite_is_the_reference() -> None:
    torch.manual_seed(0)
    module = SqueezeExcite(24, 8).double()
    with torch.no_grad():
        module.expand.weight.mul_(300)  # so that the gates reach both flat ends
    x = torch.randn(3, 24, 5, 4, dtype=torch.float64)
    computed = module(x).detach().numpy()
    np.testing.assert_allclose(computed, squeeze_excite(x.numpy(), as_numpy(module)), rtol=1e-12, atol=1e-12)
    gates = computed / x.numpy()
    assert np.isclose(gates, 0).any()
    assert np.isclose(gates, 1).any()


def test_batch_norm_has_the_papers_constants() -> None:
    for row in resolve("mobilenet_v3_large").backbone.blocks:
        module = InvertedResidual(row, Options())
        for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
            assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    other = ConvNormAct(3, 8, Options(bn_eps=1e-5, bn_momentum=0.1))
    assert (other.norm.eps, other.norm.momentum) == (1e-5, 0.1)


def test_statistics_decay_by_0_99() -> None:
    torch.manual_seed(0)
    module = ConvNormAct(3, 8, Options()).train()
    x = torch.randn(4, 3, 5, 5)
    with torch.no_grad():
        convolved = module.conv(x)
        module(x)
    assert module.norm.running_mean is not None
    assert module.norm.running_var is not None
    torch.testing.assert_close(module.norm.running_mean, 0.01 * convolved.mean((0, 2, 3)))
    torch.testing.assert_close(module.norm.running_var, 0.99 + 0.01 * convolved.var((0, 2, 3)))


def test_biases_stand_where_no_batch_norm_follows() -> None:
    block = resolve("mobilenet_v3_large").backbone.blocks[4]
    biased = {
        name
        for name, part in InvertedResidual(block, Options()).named_modules()
        if isinstance(part, nn.Conv2d) and part.bias is not None
    }
    assert biased == {"se.reduce", "se.expand"}


def test_input_and_inner_maps_are_not_overwritten() -> None:
    block = resolve("mobilenet_v3_small").backbone.blocks[4]
    module = InvertedResidual(block, Options()).eval()
    x = torch.randn(1, block.in_channels, 5, 5)
    before = x.clone()
    with torch.no_grad():
        maps = module.maps(x)
        assert torch.equal(x, before)
        assert torch.equal(maps.expand, module.expand(x))
        assert torch.equal(maps.depthwise, module.depthwise(module.expand(x)))


def test_a_block_stopped_early_keeps_only_what_the_map_needs() -> None:
    block = resolve("mobilenet_v3_small").backbone.blocks[4]
    x = torch.randn(1, block.in_channels, 5, 5)
    for inner, kept in (("expand", {"expand"}), ("depthwise", {"expand", "depthwise"})):
        module = InvertedResidual(block, Options()).eval()
        wanted = getattr(module.maps(x), inner)
        module.stop_after(inner)  # type: ignore[arg-type]
        assert torch.equal(getattr(module.maps(x), inner), wanted)
        assert {name.split(".")[0] for name in module.state_dict()} == kept
