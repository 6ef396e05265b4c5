"""The kernels' meaning in plain numpy and float64, one line a sum; slow, and obviously right."""

from __future__ import annotations

import numpy as np

ACTS = ("none", "relu", "hard_swish")
"""in the order of the enumeration in `native/layers.h`"""


def h_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def activate(x: np.ndarray, act: str) -> np.ndarray:
    return {"none": x, "relu": np.maximum(x, 0), "hard_swish": x * h_sigmoid(x)}[act]


def pad(x: np.ndarray, kernel: int, stride: int, dilation: int, same: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """(H, W, C) with zeros around it, and the size of the convolution's output."""
    reach, before, size = (kernel - 1) * dilation, [], []
    for length in x.shape[:2]:
        out = -(-length // stride)
        before.append(max((out - 1) * stride + reach + 1 - length, 0) // 2 if same else reach // 2)
        size.append(out)
    after = [(out - 1) * stride + reach + 1 for out in size]
    padded = np.zeros((max(after[0], before[0] + x.shape[0]), max(after[1], before[1] + x.shape[1]), x.shape[2]))
    padded[before[0] : before[0] + x.shape[0], before[1] : before[1] + x.shape[1]] = x
    return padded, (size[0], size[1])


def depthwise(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, dilation: int, same: bool) -> np.ndarray:
    """x (H, W, C), w (C, k, k) to (H', W', C)."""
    padded, (height, width) = pad(x, w.shape[1], stride, dilation, same)
    out = np.tile(b.astype(np.float64), (height, width, 1))
    for i in range(height):
        for j in range(width):
            for ky in range(w.shape[1]):
                for kx in range(w.shape[1]):
                    out[i, j] += padded[i * stride + ky * dilation, j * stride + kx * dilation] * w[:, ky, kx]
    return out


def conv3x3(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, same: bool) -> np.ndarray:
    """x (H, W, C), w (N, C, 3, 3) to (H', W', N)."""
    padded, (height, width) = pad(x, 3, stride, 1, same)
    out = np.tile(b.astype(np.float64), (height, width, 1))
    for i in range(height):
        for j in range(width):
            window = padded[i * stride : i * stride + 3, j * stride : j * stride + 3]
            out[i, j] += np.einsum("yxc,ncyx->n", window, w.astype(np.float64))
    return out


def resize(x: np.ndarray, height: int, width: int, align_corners: bool) -> np.ndarray:
    """Bilinear, (h, w, C) to (height, width, C)."""
    rows, columns = _places(x.shape[0], height, align_corners), _places(x.shape[1], width, align_corners)
    out = np.zeros((height, width, x.shape[2]))
    for i, (top, bottom, down) in enumerate(rows):
        for j, (left, right, across) in enumerate(columns):
            upper = (1 - across) * x[top, left] + across * x[top, right]
            lower = (1 - across) * x[bottom, left] + across * x[bottom, right]
            out[i, j] = (1 - down) * upper + down * lower
    return out


def _places(low: int, full: int, align_corners: bool) -> list[tuple[int, int, float]]:
    places = []
    for i in range(full):
        if align_corners:
            at = i * (low - 1) / (full - 1) if full > 1 else 0.0
        else:
            at = min(max((i + 0.5) * low / full - 0.5, 0.0), low - 1.0)
        first = min(int(at), low - 1)
        places.append((first, min(first + 1, low - 1), at - first))
    return places


def halves(x: np.ndarray) -> np.ndarray:
    """bfloat16, as 16-bit integers: the upper half of the nearest float32 that has no lower; of two the even one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x: np.ndarray) -> np.ndarray:
    """What 16-bit integers stand for that hold bfloat16, as float64."""
    return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
