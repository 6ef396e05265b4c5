"""The integer arithmetic of `hswish.spec.quantized` as slow, obvious numpy: what every kernel is held to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.spec import graph as g
from hswish.spec.quantized import QuantizedGraph, Range


def run_reference(net: QuantizedGraph, batch: NDArray[np.float32]) -> NDArray[Any]:
    """The answer of `net` to a batch (N, C, H, W): logits in float32, or a mask."""
    return reference_values(net, batch)[net.graph.output]


def reference_values(net: QuantizedGraph, batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Every value of `net`, the input included, as it is held: bytes where it has a range."""
    values: dict[str, NDArray[Any]] = {g.INPUT: _held(net, g.INPUT, batch)}
    for node in net.graph.nodes:
        real = _compute(net, node, [values[name] for name in node.inputs])
        values[node.name] = _held(net, node.name, real)
    return values


def _held(net: QuantizedGraph, name: str, real: NDArray[Any]) -> NDArray[Any]:
    """A value as its readers get it: bytes where it has a range."""
    return net.values[name].quantise(real) if name in net.values else real


def _compute(net: QuantizedGraph, node: g.Node, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """One operation; bytes go in as bytes, a float32 value comes out before it is rounded."""
    ranges = [net.values.get(name) for name in node.inputs]
    if isinstance(node, (g.Convolution, g.Linear)):
        return _layer(net, node, inputs[0], ranges[0])
    one = np.float32(1)
    match node:
        case g.Multiply():
            # The product of the codes is exact; the scales meet once.
            left, right = (_centred(value, held) for value, held in zip(inputs, ranges, strict=True))
            scale = one
            for held in ranges:
                scale = scale * (one if held is None else np.float32(held.scale))
            return (left * right).astype(np.float32) * scale
        case g.GlobalPool():
            height, width = inputs[0].shape[2:]
            if ranges[0] is None:
                return inputs[0].mean((2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
            total = _centred(inputs[0], ranges[0]).sum((2, 3), keepdims=True)
            return total.astype(np.float32) * np.float32(np.float64(ranges[0].scale) / (height * width))
    reals = [value if held is None else held.real(value) for value, held in zip(inputs, ranges, strict=True)]
    return _in_float(node, reals)


def _layer(
    net: QuantizedGraph, node: g.Convolution | g.Linear, x: NDArray[Any], held: Range | None
) -> NDArray[np.float32]:
    """A convolution or linear layer: in integers where its input is bytes and its weights have scales."""
    if held is not None and node.name in net.scales:
        codes = net.integers(node.name)
        assert codes.bias is not None
        total = _products(node, _centred(x, held), codes.weight.astype(np.int64)) + _by_channel(codes.bias, x.ndim)
        return total.astype(np.float32) * _by_channel(net.product_scale(node.name), x.ndim)
    weight = node.weight.astype(np.float64)
    if node.name in net.scales:
        codes = net.integers(node.name)
        weight = codes.weight * codes.scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    real = x if held is None else held.real(x)
    total = _products(node, real.astype(np.float64), weight) + _by_channel(node.bias, x.ndim)
    return total.astype(np.float32)


def _products(node: g.Convolution | g.Linear, x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Sums of products, exact in int64 (a kernel's int32 never overflows) or in double precision."""
    if isinstance(node, g.Linear):
        return x @ weight.T
    top, left, bottom, right = node.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    count, channels, high, wide = x.shape
    out, within, side, _ = weight.shape
    extent = node.dilation * (side - 1) + 1
    height, width = (high - extent) // node.stride + 1, (wide - extent) // node.stride + 1
    grouped = x.reshape(count, node.groups, channels // node.groups, high, wide)
    rows = weight.reshape(node.groups, out // node.groups, within, side, side)
    total = np.zeros((count, node.groups, out // node.groups, height, width), x.dtype)
    for row in range(side):
        for column in range(side):
            down, across = row * node.dilation, column * node.dilation
            window = grouped[
                ...,
                down : down + (height - 1) * node.stride + 1 : node.stride,
                across : across + (width - 1) * node.stride + 1 : node.stride,
            ]
            total += np.einsum("ngchw,goc->ngohw", window, rows[..., row, column])
    return total.reshape(count, out, height, width)


def _in_float(node: g.Node, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    x = inputs[0]
    match node:
        case g.Activation():
            return activation(node.kind, x)
        case g.Add():
            return x + inputs[1]
        case g.Concat():
            return np.concatenate(inputs, 1)
        case g.Flatten():
            return x.reshape(len(x), -1)
        case g.WindowPool():
            (high, wide), (down, across) = node.window, node.stride
            windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (high, wide), (2, 3))
            return windows[:, :, ::down, ::across].mean((-2, -1)).astype(np.float32)
        case g.Resize():
            return _resized(x, node.shape[2:], node.align_corners)
        case g.FromPixels():
            planes = x.transpose(0, 3, 1, 2).astype(np.float32)
            return planes * node.scale.reshape(1, 3, 1, 1) + node.shift.reshape(1, 3, 1, 1)
        case g.Grey():
            grey = np.floor((x * node.weight.reshape(1, 3, 1, 1)).sum(1, keepdims=True) + node.bias)
            return grey * node.scale + node.shift
        case g.ArgMax():
            return x.argmax(1).astype(np.uint8)
        case _:
            raise AssertionError(node)


def activation(kind: g.ActivationKind, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """In float32, in this order of operations."""
    match kind:
        case "relu":
            return np.maximum(x, np.float32(0))
        case "sigmoid":
            return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
        case "hard_sigmoid":
            return np.clip(x + np.float32(3), np.float32(0), np.float32(6)) * np.float32(1 / 6)
        case "hard_swish":
            return x * (np.clip(x + np.float32(3), np.float32(0), np.float32(6)) * np.float32(1 / 6))


def _resized(x: NDArray[np.float32], size: tuple[int, ...], corners: bool) -> NDArray[np.float32]:
    """Bilinear, in double precision."""
    for axis, (given, wanted) in enumerate(zip(x.shape[2:], size, strict=True), 2):
        at = np.arange(wanted)
        if corners:
            place = at * ((given - 1) / (wanted - 1)) if wanted > 1 else at * 0.0
        else:
            place = np.clip((at + 0.5) * given / wanted - 0.5, 0, None)
        low = np.minimum(place.astype(int), given - 1)
        high = np.minimum(low + 1, given - 1)
        part = (place - low).reshape(-1, *[1] * (3 - axis))
        x = np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part
    return x.astype(np.float32)


def _centred(value: NDArray[Any], held: Range | None) -> NDArray[Any]:
    """Codes less their zero point, in int64; a float32 value as it is."""
    return value if held is None else value.astype(np.int64) - held.zero_point


def _by_channel(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    return values.reshape(1, -1, *[1] * (ndim - 2))
