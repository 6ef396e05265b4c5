"""The 8-bit kernels' meaning in plain numpy, one line an operation, each rounded to float32: `native/int8_layers.h`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.runtime.native.reference import pad

one, three, six, sixth = (np.float32(value) for value in (1, 3, 6, 1 / 6))


@dataclass(frozen=True)
class Layer:
    """As the compiled part takes it: see `Int8Layer`."""

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    inverse: float
    zero: int
    low: int

    def given(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int, int]:
        return self.weight, self.bias, self.scale, self.inverse, self.zero, self.low


def drawn_layer(rng: np.random.Generator, shape: tuple[int, ...], act: str) -> Layer:
    """A layer whose results spread over the bytes."""
    n, taps = shape[0], int(np.prod(shape[1:]))
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    scale = (rng.uniform(0.5, 2, n) / (127 * 127 * np.sqrt(taps))).astype(np.float32)
    bias = rng.integers(-20000, 20001, n).astype(np.int32)
    zero = int(rng.integers(0, 256))
    return Layer(weight, bias, scale, float(np.float32(rng.uniform(20, 300))), zero, zero if act == "relu" else 0)


def padded(x: np.ndarray) -> np.ndarray:
    """(..., C) with channels to a multiple of 16, the new ones of no meaning."""
    room = np.full((*x.shape[:-1], -(-x.shape[-1] // 16) * 16), 99, x.dtype)
    room[..., : x.shape[-1]] = x
    return room


def real(sums: np.ndarray, layer: Layer, act: str) -> np.ndarray:
    """What exact sums (..., n) stand for, activation included."""
    assert np.abs(sums).max(initial=0) < 2**31
    y = sums.astype(np.float32) * layer.scale
    if act == "relu":
        return np.maximum(y, np.float32(0))
    return y * (np.clip(y + three, np.float32(0), six) * sixth) if act == "hard_swish" else y


def codes(y: np.ndarray, inverse: float, zero: int, low: int = 0) -> np.ndarray:
    return np.clip(np.rint(y * np.float32(inverse)) + zero, low, 255).astype(np.uint8)


def pointwise_sums(x: np.ndarray, layer: Layer) -> np.ndarray:
    """x (M, K) to (M, N)."""
    return x.astype(np.int64) @ layer.weight.T.astype(np.int64) + layer.bias


def windows_sums(x: np.ndarray, layer: Layer, stride: int, dilation: int, same: bool, padding: int) -> np.ndarray:
    """Depthwise, x (H, W, C) and weights (C, k, k): sums (H', W', C); beyond the map stands the byte `padding`."""
    centred, (height, width) = pad(x.astype(np.int64) - padding, layer.weight.shape[1], stride, dilation, same)
    room = centred.astype(np.int64) + padding
    out = np.tile(layer.bias.astype(np.int64), (height, width, 1))
    for i in range(height):
        for j in range(width):
            for ky in range(layer.weight.shape[1]):
                for kx in range(layer.weight.shape[2]):
                    out[i, j] += room[i * stride + ky * dilation, j * stride + kx * dilation] * layer.weight[:, ky, kx]
    return out
