"""The block against a slow, obvious one in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hswish.models.block import ConvNormAct, InvertedResidual, SqueezeExcite
from hswish.spec.architecture import Block, Options, resolve

Floats = NDArray[np.float64]
Weights = dict[str, Floats]


def convolve(x: Floats, weight: Floats, stride: int = 1, dilation: int = 1, depthwise: bool = False) -> Floats:
    """Zero padding of (k - 1) / 2 * dilation on every side."""
    batch, _, height, width = x.shape
    kernel = weight.shape[-1]
    pad = (kernel - 1) // 2 * dilation
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((batch, weight.shape[0], -(-height // stride), -(-width // stride)))
    for n, channel, row, column in np.ndindex(*out.shape):
        top, left = row * stride, column * stride
        rows = slice(top, top + (kernel - 1) * dilation + 1, dilation)
        columns = slice(left, left + (kernel - 1) * dilation + 1, dilation)
        seen = padded[n, channel, rows, columns][None] if depthwise else padded[n, :, rows, columns]
        out[n, channel, row, column] = np.sum(seen * weight[channel])
    return out


def normalise(x: Floats, weights: Weights, name: str) -> Floats:
    mean, variance, scale, shift = (
        weights[f"{name}.norm.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + 0.001) * scale + shift


def squeeze_excite(x: Floats, weights: Weights, prefix: str = "") -> Floats:
    squeezed = x.mean(axis=(2, 3))
    reduced = squeezed @ weights[f"{prefix}reduce.weight"][:, :, 0, 0].T + weights[f"{prefix}reduce.bias"]
    reduced = np.maximum(reduced, 0)
    gate = reduced @ weights[f"{prefix}expand.weight"][:, :, 0, 0].T + weights[f"{prefix}expand.bias"]
    gate = np.minimum(np.maximum(gate + 3, 0), 6) / 6
    return x * gate[:, :, None, None]


def reference(x: Floats, block: Block, weights: Weights) -> tuple[Floats, Floats, Floats]:
    """Expand, depthwise, squeeze-and-excitation, project, residual (facts of all the known code bases)."""

    def nonlinear(values: Floats) -> Floats:
        if block.act == "relu":
            return np.maximum(values, 0)
        return values * np.minimum(np.maximum(values + 3, 0), 6) / 6

    wide = x
    if block.expand_channels != block.in_channels:
        wide = nonlinear(normalise(convolve(x, weights["expand.conv.weight"]), weights, "expand"))
    deep = convolve(wide, weights["depthwise.conv.weight"], block.stride, block.dilation, depthwise=True)
    deep = nonlinear(normalise(deep, weights, "depthwise"))
    scaled = squeeze_excite(deep, weights, "se.") if block.se_channels else deep
    out = normalise(convolve(scaled, weights["project.conv.weight"]), weights, "project")
    if block.stride == 1 and block.in_channels == block.out_channels:
        out = out + x
    return wide, deep, out


def as_numpy(module: nn.Module) -> Weights:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def distinct_blocks() -> list[Block]:
    """Every kind of row: both tables narrow, plain and dilated, and without squeeze-and-excitation."""
    found: dict[tuple[object, ...], Block] = {}
    for name in ("mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v3_large_minimal"):
        for output_stride in (32, 8):
            for block in resolve(name, width_mult=0.1, output_stride=output_stride).backbone.blocks:
                kind = (block.kernel, block.stride, block.dilation, bool(block.se_channels), block.act)
                found.setdefault((*kind, block.has_expand, block.has_residual), block)
    return list(found.values())


@pytest.mark.parametrize("block", distinct_blocks(), ids=repr)
def test_the_block_is_the_reference(block: Block, lived: Callable[..., nn.Module]) -> None:
    module = InvertedResidual(block, Options()).double()
    lived(module)
    x = np.random.default_rng(0).normal(size=(2, block.in_channels, 6, 7))
    wanted = reference(x, block, as_numpy(module))
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
