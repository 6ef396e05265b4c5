"""Parameters and multiply-adds of a network, layer by layer, derived without building it.

Counted as the paper and its re-implementations do: convolutions and linear layers, no
activation, pooling or resize cost; batch norm's scale and shift count as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hswish.spec.architecture import (
    Architecture,
    Block,
    ClassifierHead,
    ConcatHead,
    GatedHead,
    LRASPPHead,
    SegmentationHead,
)


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
    h, w = _ceil_div(height, net.stem_stride), _ceil_div(width, net.stem_stride)
    yield _conv("backbone.stem", "conv 3x3", net.in_channels, net.stem_channels, 3, h, w)
    sizes = {"stem": (h, w)}
    for index, block in enumerate(net.blocks):
        yield from _block(f"backbone.blocks.{index}", block, h, w)
        h, w = _ceil_div(h, block.stride), _ceil_div(w, block.stride)
        sizes[f"blocks.{index}"] = sizes[f"blocks.{index}.depthwise"] = (h, w)
    channels = net.blocks[-1].out_channels
    for index in range(net.last_convs):
        name = "backbone.last" if net.last_convs == 1 else f"backbone.last.{index}"
        yield _conv(name, "conv 1x1", channels, net.last_channels, 1, h, w)
        channels = net.last_channels
    if isinstance(arch.head, ClassifierHead):
        yield from _classifier(arch.head)
    else:
        yield from _segmentation(arch.head, (h, w), sizes)


def _block(name: str, block: Block, h: int, w: int) -> Iterator[LayerCost]:
    expanded = block.expand_channels
    if block.has_expand:
        yield _conv(f"{name}.expand", "conv 1x1", block.in_channels, expanded, 1, h, w)
    h, w = _ceil_div(h, block.stride), _ceil_div(w, block.stride)
    kind = f"depthwise {block.kernel}x{block.kernel}"
    yield _conv(f"{name}.depthwise", kind, expanded, expanded, block.kernel, h, w, groups=expanded)
    if block.se_channels:
        yield _pointwise(f"{name}.se.reduce", expanded, block.se_channels)
        yield _pointwise(f"{name}.se.expand", block.se_channels, expanded)
    yield _conv(f"{name}.project", "conv 1x1", expanded, block.out_channels, 1, h, w)


def _classifier(head: ClassifierHead) -> Iterator[LayerCost]:
    hidden = head.hidden_channels
    yield _pointwise("head.hidden", head.in_channels, hidden, kind="linear", bias=head.hidden_bias)
    yield _pointwise("head.classifier", hidden, head.num_classes, kind="linear")


def _segmentation(
    head: SegmentationHead, high: tuple[int, int], sizes: dict[str, tuple[int, int]]
) -> Iterator[LayerCost]:
    deep, width, classes = head.high_channels, head.channels, head.num_classes
    yield _conv("head.features", "conv 1x1", deep, width, 1, *high)
    if isinstance(head, GatedHead):
        pooled = head.pooling.grid(*high) if head.pooling else (1, 1)
        yield _pointwise("head.gate", deep, width, pooled, bias=head.gate_bias)
    if isinstance(head, LRASPPHead):
        low = sizes[head.skip.tap]
        yield _pointwise("head.project_high", width, classes, low)
        yield _pointwise("head.project_low", head.skip.channels, classes, low)
    elif isinstance(head, ConcatHead):
        yield _pointwise("head.project", width, width, high)
        for skip, grid in zip(head.skips, (4, 2), strict=True):
            size = sizes[skip.tap]
            yield _pointwise(f"head.skip_{grid}", skip.channels, skip.reduced, size, bias=False)
            yield _conv(f"head.fuse_{grid}", "conv 1x1", width + skip.reduced, width, 1, *size)
        yield _pointwise("head.classifier", width, classes, size)
    else:
        yield _conv("head.pooled", "conv 1x1", deep, width, 1, 1, 1)
        yield _conv("head.project", "conv 1x1", 2 * width, width, 1, *high)
        yield _pointwise("head.classifier", width, classes, high)


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


def _pointwise(
    name: str,
    in_channels: int,
    out_channels: int,
    size: tuple[int, int] = (1, 1),
    kind: str = "conv 1x1",
    bias: bool = True,
) -> LayerCost:
    """A 1x1 convolution or linear layer without batch norm."""
    weights = in_channels * out_channels
    return LayerCost(
        name=name,
        kind=kind,
        output=(out_channels, *size),
        parameters=weights + (out_channels if bias else 0),
        multiply_adds=weights * size[0] * size[1],
    )


def _ceil_div(value: int, divisor: int) -> int:
    """Output size of an odd kernel with symmetric padding and this stride."""
    return -(-value // divisor)
