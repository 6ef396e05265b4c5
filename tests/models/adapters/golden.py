"""Goldens of other libraries' networks: what they answer for weights that a formula gives.

A published checkpoint has 10 to 20 MB, so none is kept here. Instead every tensor of a foreign
network is filled by `formula_weights`, a function of its name and shape alone; the golden keeps
the names, the shapes and what the library's own code answered. A test makes the same weights
again, writes them as that library would, converts the file, and compares the answers.

numpy only: the scripts that make goldens run this file beside the peers, in their environment.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "goldens"
MAX_BYTES = 50_000
MAX_VALUES = 4096
"""answers kept of each network, evenly spaced"""

Array = NDArray[Any]
Layout = Literal["torch", "keras"]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One network of another library."""

    library: str
    version: str
    network: str
    """the name its users know"""
    arguments: dict[str, Any]
    """what it was made with, in the library's own terms"""
    shapes: dict[str, tuple[int, ...]]
    """every tensor of its checkpoint, in the library's order"""
    gain: float
    """of the kernels, found so that the answers have a standard deviation of about 1"""
    input_shape: tuple[int, ...]
    """(N, C, H, W), for Keras too"""
    output_shape: tuple[int, ...]
    """(N, K) or (N, K, H, W)"""
    answers: Array
    """`pick(output)`, float32"""


def formula_weights(shapes: dict[str, tuple[int, ...]], layout: Layout = "torch", *, gain: float) -> dict[str, Array]:
    """The same float32 tensors for the same names and shapes, on every machine and version.

    Kernels are normal with variance gain / fan-in (He et al.: 2). `RandomState` is the generator
    whose stream numpy has frozen.
    """
    return {name: _fill(name, shape, layout, gain) for name, shape in shapes.items()}


def fit_gain(answer: Callable[[float], Array]) -> float:
    """The gain at which `answer(gain)`, a network's output, has a standard deviation of about 1.

    No one constant does it for all: without batch statistics, some networks make thousands of a
    gain of 2, and others nothing of a gain of 1.
    """
    low, high = 0.5, 3.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if answer(middle).std() > 1 else (middle, high)
    return round(low, 4)


def _fill(name: str, shape: tuple[int, ...], layout: Layout, gain: float) -> Array:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if "var" in name.rsplit("/", 1)[-1].rsplit(".", 1)[-1]:  # running_var, moving_variance:0
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) <= 1:
        scale = name.endswith(("weight", "gamma", "gamma:0"))
        return (random.uniform(0.8, 1.2, shape) if scale else 0.1 * random.standard_normal(shape)).astype(np.float32)
    if layout == "torch":
        fan_in = int(np.prod(shape[1:]))
    else:  # (h, w, in, out); a depthwise kernel is (h, w, channels, 1)
        fan_in = int(np.prod(shape[:2] if len(shape) == 4 and shape[-1] == 1 else shape[:-1]))
    return (np.sqrt(gain / fan_in) * random.standard_normal(shape)).astype(np.float32)


def formula_input(shape: tuple[int, ...]) -> Array:
    """Normal noise (N, C, H, W), the same everywhere."""
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def pick(output: Array) -> Array:
    """At most `MAX_VALUES` numbers of an answer, evenly spaced, flat."""
    flat = np.asarray(output, np.float32).ravel()
    return flat[np.linspace(0, flat.size - 1, min(flat.size, MAX_VALUES)).astype(int)]


def save_golden(path: Path, golden: Golden) -> None:
    """Write one `.npz`, under `MAX_BYTES`."""
    about = {
        "library": golden.library,
        "version": golden.version,
        "network": golden.network,
        "arguments": golden.arguments,
        "shapes": {name: list(shape) for name, shape in golden.shapes.items()},
        "gain": golden.gain,
        "input_shape": list(golden.input_shape),
        "output_shape": list(golden.output_shape),
    }
    np.savez_compressed(path, about=np.frombuffer(json.dumps(about).encode(), np.uint8), answers=golden.answers)
    size = path.stat().st_size
    assert size <= MAX_BYTES, f"{path} has {size} bytes, more than {MAX_BYTES}"


def load_golden(path: Path) -> Golden:
    """Read one back."""
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        answers = file["answers"]
    return Golden(
        library=about["library"],
        version=about["version"],
        network=about["network"],
        arguments=about["arguments"],
        shapes={name: tuple(shape) for name, shape in about["shapes"].items()},
        gain=about["gain"],
        input_shape=tuple(about["input_shape"]),
        output_shape=tuple(about["output_shape"]),
        answers=answers,
    )
