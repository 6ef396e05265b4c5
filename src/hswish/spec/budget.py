"""Parameters and multiply-adds of a network, layer by layer, derived without building it.

Counted as the paper and its re-implementations do: convolutions and linear layers, no
activation, pooling or resize cost; batch norm's scale and shift count as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hswish.spec.architecture import Architecture, Block, ClassifierHead, LRASPPHead


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One convolution or linear layer at a given input size."""

    name: str
    """dotted name of the torch module that holds the weights"""
    kind: str
    output: tuple[int, int, int]
    """(channels, height, width)"""
    parameters: int
    multiply_adds: int


def layer_costs(arch: Architecture, height: int, width: int) -> list[LayerCost]:
    """Every weighted layer of `arch` for a (height, width) input in pixels, in order."""
    return list(_walk(arch, height, width))


def count_parameters(arch: Architecture) -> int:
    """Trainable parameters, as `sum(p.numel() for p in model.parameters())` gives."""
    return sum(layer.parameters for layer in _walk(arch, 32, 32))


def count_multiply_adds(arch: Architecture, height: int, width: int) -> int:
    """Multiply-adds of one (height, width) picture."""
    return sum(layer.multiply_adds for layer in _walk(arch, height, width))


def _walk(arch: Architecture, height: int, width: int) -> Iterator[LayerCost]:
    net = arch.backbone
    h, w = _ceil_div(height, 2), _ceil_div(width, 2)
    yield _conv("backbone.stem", "conv 3x3", net.in_channels, net.stem_channels, 3, h, w)
    low_size = (h, w)
    for index, block in enumerate(net.blocks):
        yield from _block(f"backbone.blocks.{index}", block, h, w)
        h, w = _ceil_div(h, block.stride), _ceil_div(w, block.stride)
        if isinstance(arch.head, LRASPPHead) and index == arch.head.low_block:
            low_size = (h, w)
    yield _conv("backbone.last", "conv 1x1", net.blocks[-1].out_channels, net.last_channels, 1, h, w)
    if isinstance(arch.head, ClassifierHead):
        yield from _classifier(arch.head)
    else:
        yield from _lraspp(arch.head, (h, w), low_size)


def _block(name: str, block: Block, h: int, w: int) -> Iterator[LayerCost]:
    expanded = block.expand_channels
    if block.has_expand:
        yield _conv(f"{name}.expand", "conv 1x1", block.in_channels, expanded, 1, h, w)
    h, w = _ceil_div(h, block.stride), _ceil_div(w, block.stride)
    kind = f"depthwise {block.kernel}x{block.kernel}"
    yield _conv(f"{name}.depthwise", kind, expanded, expanded, block.kernel, h, w, groups=expanded)
    if block.se_channels:
        yield _biased(f"{name}.se.reduce", expanded, block.se_channels)
        yield _biased(f"{name}.se.expand", block.se_channels, expanded)
    yield _conv(f"{name}.project", "conv 1x1", expanded, block.out_channels, 1, h, w)


def _classifier(head: ClassifierHead) -> Iterator[LayerCost]:
    yield _biased("head.hidden", head.in_channels, head.hidden_channels, "linear")
    yield _biased("head.classifier", head.hidden_channels, head.num_classes, "linear")


def _lraspp(head: LRASPPHead, high: tuple[int, int], low: tuple[int, int]) -> Iterator[LayerCost]:
    yield _conv("head.features", "conv 1x1", head.high_channels, head.channels, 1, *high)
    yield _biased("head.gate", head.high_channels, head.channels)
    yield _biased("head.project_high", head.channels, head.num_classes, h=low[0], w=low[1])
    yield _biased("head.project_low", head.low_channels, head.num_classes, h=low[0], w=low[1])


def _conv(
    name: str, kind: str, in_channels: int, out_channels: int, kernel: int, h: int, w: int, groups: int = 1
) -> LayerCost:
    """A convolution without bias followed by batch norm (scale and shift)."""
    weights = out_channels * (in_channels // groups) * kernel * kernel
    return LayerCost(
        name=name,
        kind=kind,
        output=(out_channels, h, w),
        parameters=weights + 2 * out_channels,
        multiply_adds=weights * h * w,
    )


def _biased(
    name: str, in_channels: int, out_channels: int, kind: str = "conv 1x1", h: int = 1, w: int = 1
) -> LayerCost:
    """A 1x1 convolution or linear layer with bias and no batch norm."""
    weights = in_channels * out_channels
    return LayerCost(
        name=name,
        kind=kind,
        output=(out_channels, h, w),
        parameters=weights + out_channels,
        multiply_adds=weights * h * w,
    )


def _ceil_div(value: int, divisor: int) -> int:
    """Output size of an odd kernel with symmetric padding and this stride."""
    return -(-value // divisor)
