"""Scales of 8-bit weights: one an output channel, the one with the least squared error.

The largest weight of a channel decides the usual scale, and one large weight then costs all others
precision. Here each channel tries scales down to a third of it and keeps the best; a channel's scale is
then moved to the least-squares fit of its codes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hswish.spec.quantized import BIAS_LIMIT

_CLIPS = np.linspace(1.0, 0.35, 40)
"""Parts of the largest weight that are tried."""
_SMALLEST = 1e-12
_GATE_SHIFT = 3.0
"""What an h-sigmoid may add to a bias (`hswish.quantize.splitting`)."""


def weight_scales(
    weight: NDArray[np.float32],
    bits: int = 8,
    bias: NDArray[np.float32] | None = None,
    input_scale: float | None = None,
) -> NDArray[np.float32]:
    """(out,) scales of `weight` (out, ...).

    Args:
        bits: 8 or 7.
        bias: (out,); with `input_scale`, no scale is so small that the bias would not fit its integer
            (`BIAS_LIMIT`), as happens to channels whose weights are nearly zero.
    """
    top = 2 ** (bits - 1) - 1
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(rows).max(1)
    best_error = np.full(len(rows), np.inf)
    best = np.maximum(largest / top, _SMALLEST)
    for clip in _CLIPS:
        scale = np.maximum(largest * clip / top, _SMALLEST)
        codes = np.clip(np.rint(rows / scale[:, None]), -top, top)
        power = (codes * codes).sum(1)
        fitted = np.where(power > 0, (codes * rows).sum(1) / np.maximum(power, 1), scale)
        for tried in (scale, np.maximum(fitted, _SMALLEST)):
            again = np.clip(np.rint(rows / tried[:, None]), -top, top) * tried[:, None]
            error = ((again - rows) ** 2).sum(1)
            better = error < best_error
            best_error, best = np.where(better, error, best_error), np.where(better, tried, best)
    return _floored(best, bias, input_scale)


def largest_scales(
    weight: NDArray[np.float32],
    bits: int = 8,
    bias: NDArray[np.float32] | None = None,
    input_scale: float | None = None,
) -> NDArray[np.float32]:
    """(out,) the usual scales, under which the largest weight of a channel is the largest code."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(1).astype(np.float64)
    return _floored(np.maximum(largest / (2 ** (bits - 1) - 1), _SMALLEST), bias, input_scale)


def _floored(
    scale: NDArray[np.float64], bias: NDArray[np.float32] | None, input_scale: float | None
) -> NDArray[np.float32]:
    if bias is not None and input_scale is not None:
        largest_bias = np.abs(bias.astype(np.float64)) + _GATE_SHIFT
        scale = np.maximum(scale, largest_bias / (input_scale * BIAS_LIMIT))
    return scale.astype(np.float32)
