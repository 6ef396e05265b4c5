"""The weights of a `.safetensors` file, taken out one layer at a time, batch norm folded in.

A batch norm in evaluation mode is linear, so the convolution before it takes it in:

    scale = weight / sqrt(running_var + eps)
    w'    = w * scale            b' = bias - running_mean * scale

in float64, rounded once. Every shape is compared with what the architecture asks for, and no
weight may be left over: a damaged or contradictory file is refused before anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError

from hswish.spec.errors import ModelFileError

_FLOATS: dict[object, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with its bias, float32."""

    weight: NDArray[np.float32]
    """as torch has it: (out, in), (out, in, k, k), or (channels, k, k) for depthwise"""
    bias: NDArray[np.float32]
    """(out,)"""

    def pair(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As the compiled part takes it."""
        return self.weight, self.bias


class Weights:
    """All weights of a file, each to be taken once.

    Raises:
        ModelFileError: the file cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        try:
            tensors = safetensors.deserialize(Path(path).read_bytes())
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelFileError(f"{path}: its weights cannot be read ({error}); fetch the file again") from error
        self._tensors: dict[str, dict[str, Any]] = dict(tensors)

    def take(self, name: str, *shape: int) -> NDArray[np.float64]:
        """The tensor called `name`.

        Raises:
            ModelFileError: it is not there, or has another shape or no type of floats.
        """
        entry = self._tensors.pop(name, None)
        if entry is None:
            raise ModelFileError(f"{self.path}: lacks the weights '{name}'; its description does not fit its contents")
        if list(entry["shape"]) != list(shape):
            raise ModelFileError(
                f"{self.path}: {name} has shape {entry['shape']!r:.80}, its description asks for {list(shape)}"
            )
        kind = _FLOATS.get(entry["dtype"])
        if kind is None:
            raise ModelFileError(f"{self.path}: {name} is stored as {entry['dtype']}, which is no type for it")
        values = np.frombuffer(entry["data"], kind)
        if entry["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float64).reshape(shape)

    def conv_norm(self, prefix: str, out: int, *rest: int, eps: float) -> Layer:
        """The convolution `prefix.conv`, (out, *rest), with `prefix.norm` folded in."""
        weight = self.take(f"{prefix}.conv.weight", out, *rest)
        gain, offset, mean, variance = (
            self.take(f"{prefix}.norm.{name}", out) for name in ("weight", "bias", "running_mean", "running_var")
        )
        self._tensors.pop(f"{prefix}.norm.num_batches_tracked", None)
        with np.errstate(all="ignore"):  # what a damaged file gives is found in its outputs
            scale = gain / np.sqrt(variance + eps)
            return layer(weight * scale.reshape(-1, *[1] * len(rest)), offset - mean * scale)

    def plain(self, prefix: str, out: int, *rest: int, bias: bool = True) -> Layer:
        """The convolution or linear layer called `prefix`; a bias of zeros where it has none."""
        weight = self.take(f"{prefix}.weight", out, *rest)
        return layer(weight, self.take(f"{prefix}.bias", out) if bias else np.zeros(out))

    def finish(self) -> None:
        """To be called when all are taken.

        Raises:
            ModelFileError: some are left over.
        """
        if self._tensors:
            left = sorted(self._tensors)
            # The names are the file's own: quoted and cut, so that the error stays one line.
            listed = ", ".join(f"{name!r:.80}" for name in left[:3])
            listed += f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise ModelFileError(
                f"{self.path}: has unknown weights {listed}; its description does not fit its contents"
            )


def layer(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Layer:
    """float64 to the layer that is computed; 1x1 kernels become matrices (out, in)."""
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    with np.errstate(over="ignore"):
        return Layer(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))
