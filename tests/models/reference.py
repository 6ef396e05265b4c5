"""The layers of the paper in slow, obvious numpy (float64): what the torch modules are measured against.

Nothing here comes from the package. Maps are (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Padding = Literal["symmetric", "same"]


def relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def relu6(x: Floats) -> Floats:
    return np.minimum(relu(x), 6)


def hard_sigmoid(x: Floats) -> Floats:
    return relu6(x + 3) / 6


def hard_swish(x: Floats) -> Floats:
    return x * relu6(x + 3) / 6


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def convolve(
    x: Floats,
    weight: Floats,
    bias: Floats | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    depthwise: bool = False,
    padding: Padding = "symmetric",
) -> Floats:
    """A convolution as a sum over the cells of its kernel; weight (out, in or 1, k, k), output ceil(size / stride).

    symmetric: zeros of dilation * (k - 1) / 2 on every side. same: TensorFlow's rule, as many as
    the last window needs, the odd one below and on the right.
    """
    kernel, sizes = weight.shape[-1], x.shape[2:]
    reach = dilation * (kernel - 1)
    outs = [-(-size // stride) for size in sizes]
    sides = []
    for size, out in zip(sizes, outs, strict=True):
        total = max((out - 1) * stride + reach + 1 - size, 0)
        sides.append((total // 2, total - total // 2) if padding == "same" else (reach // 2, reach // 2))
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    result = np.zeros((len(x), len(weight), *outs))
    for row, column in np.ndindex(kernel, kernel):
        top, left = dilation * row, dilation * column
        rows = slice(top, top + stride * (outs[0] - 1) + 1, stride)
        columns = slice(left, left + stride * (outs[1] - 1) + 1, stride)
        seen, cell = x[:, :, rows, columns], weight[:, :, row, column]
        if depthwise:
            result += seen * cell[:, 0, None, None]
        else:
            result += np.moveaxis(np.tensordot(cell, seen, (1, 1)), 0, 1)
    return result if bias is None else result + bias[:, None, None]


def normalise(x: Floats, weights: Mapping[str, Floats], name: str, eps: float, training: bool = False) -> Floats:
    """Batch norm `name`: by the running statistics, or (training) by those of this batch, variance over n."""
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    scale = weights[f"{name}.weight"] / np.sqrt(variance + eps)
    return (x - mean[:, None, None]) * scale[:, None, None] + weights[f"{name}.bias"][:, None, None]


def global_mean(x: Floats) -> Floats:
    return x.mean((2, 3), keepdims=True)


def window_mean(x: Floats, window: int, stride: tuple[int, int]) -> Floats:
    """Means of windows that lie wholly inside (VALID), the window cut to the map; one window after the other."""
    height, width = min(window, x.shape[2]), min(window, x.shape[3])
    tops = range(0, x.shape[2] - height + 1, stride[0])
    lefts = range(0, x.shape[3] - width + 1, stride[1])
    rows = [[x[:, :, top : top + height, left : left + width].mean((2, 3)) for left in lefts] for top in tops]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def resize(x: Floats, size: tuple[int, ...], align_corners: bool = False) -> Floats:
    """Bilinear, one axis after the other.

    Output pixel i looks at (i + 1/2) * old / new - 1/2, edges repeated; with aligned corners at
    i * (old - 1) / (new - 1).
    """
    for axis, new in zip((2, 3), size, strict=True):
        old = x.shape[axis]
        if align_corners:
            places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
        else:
            places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, None)
        low = np.minimum(np.floor(places).astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        part = (places - low).reshape([-1 if dim == axis else 1 for dim in range(4)])
        x = np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part
    return x


def make_divisible(value: float) -> int:
    """The multiple of 8 nearest to `value`, at least 8, and no less than 90 % of it."""
    nearest = max(8, int(value / 8 + 0.5) * 8)
    return nearest if nearest >= 0.9 * value else nearest + 8
