"""The compiled part of the native engine (`native/module.cpp`).

Arrays are C-contiguous; layers are weights with their bias, float32. Whatever does not fit raises ValueError.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]
Act = Literal["none", "relu", "hard_swish"]
# See hswish.runtime.native.int8, where these are made.
Int8Layer = tuple[NDArray[np.int8], NDArray[np.int32], Floats, float, int, int]
Mean = tuple[float, int, float, int]
Gating = tuple[int, float, float, int]

class Plan:
    """A network as a list of steps; the methods that append one return the tensor that it makes."""

    def __init__(self, level: str, threads: int) -> None: ...
    def stem(self, layer: Layer, stride: int, act: Act, same: bool) -> int: ...
    def block(
        self,
        input: int,
        expand: Layer | None,
        depthwise: Layer,
        se: tuple[Layer, Layer, Act, bool] | None,
        project: Layer,
        stride: int,
        dilation: int,
        act: Act,
        residual: bool,
        same: bool,
        keep: bool = False,
        stem: tuple[Layer, int, Act] | None = None,
    ) -> tuple[int, int]:
        """Returns the output and, with `keep`, the depthwise map (else -1).

        se: reduce, expand, non-linearity between them, whether before the depthwise's non-linearity.
        stem: makes the block's rows itself; `input` is then not looked at.
        """
    def pointwise(self, input: int, layer: Layer, act: Act) -> int: ...
    def mean(self, input: int, window: int = 0, stride_down: int = 1, stride_across: int = 1) -> int:
        """Average pooling, over the whole map with window 0."""
    def gate(self, features: int, gate: int, hard: bool) -> int:
        """features * sigmoid(gate), the gate resized to the features corner to corner."""
    def join(self, high: int, low: int, align_corners: bool, act: Act) -> int:
        """act(low + high resized)."""
    def stem_int8(self, layer: Int8Layer, stride: int, act: Act, same: bool, inverse: float, zero: int) -> int:
        """`inverse`, `zero`: 1 / scale and zero of the bytes that the picture becomes."""
    def block_int8(
        self,
        input: int,
        expand: Int8Layer | None,
        depthwise: Int8Layer,
        se: tuple[Mean, Int8Layer | Layer, Int8Layer | Layer, Act, tuple[float, int], Gating] | None,
        project: Int8Layer,
        stride: int,
        dilation: int,
        act: Act,
        residual: tuple[float, int] | None,
        same: bool,
        padding: int,
        keep: bool = False,
    ) -> tuple[int, int]:
        """As `block`. se: the mean, both layers, the gate's codes (1 / scale and zero; 0: floats), the product.

        residual: scale and zero of the input. padding: the byte for 0 in what the depthwise convolution reads.
        """
    def pointwise_int8(self, input: int, layer: Int8Layer, act: Act, floats: bool = False) -> int:
        """To bytes, or to the floats that they would stand for."""
    def mean_int8(
        self,
        input: int,
        mean: Mean,
        floats: bool = False,
        window: int = 0,
        stride_down: int = 1,
        stride_across: int = 1,
    ) -> int:
        """As `mean`, to bytes or floats."""
    def gate_int8(self, features: int, gate: int, hard: bool, codes: tuple[float, int], gating: Gating) -> int:
        """As `gate`: bytes by a gate of floats to bytes."""
    def to_bytes(self, input: int, inverse: float, zero: int) -> int:
        """A map of floats as bytes."""
    def to_floats(self, input: int, scale: float, zero: int, channels: int) -> int:
        """The first channels of a map of bytes as floats."""
    def answer(self, input: int, used: int) -> None:
        """Ends a classifier: the first `used` channels of one pixel."""
    def scores(self, input: int, used: int, align_corners: bool) -> None:
        """Ends a segmentation network: `used` channels resized to the picture, as logits or a mask."""
    def at(self, height: int, width: int) -> Plan:
        """The plan for pictures of this size; it shares weights and threads with this one."""
    def run(self, pictures: NDArray[np.generic], out: NDArray[np.generic], table: Floats | None = None) -> bool:
        """float32 (N, C, H, W), or uint8 (N, H, W, C) with the (C, 256) floats its bytes stand for.

        out: float32 logits, or uint8 (N, H, W) for masks. False where a mask's scores are not finite.
        """
    def profile(
        self, pictures: NDArray[np.generic], out: NDArray[np.generic], table: Floats | None = None, repeats: int = 20
    ) -> list[tuple[str, float]]:
        """Kind and median milliseconds of each step, on one picture."""
    @property
    def kinds(self) -> list[str]:
        """Of the steps; those on bytes begin with `int8`."""
    @property
    def panel(self) -> int:
        """Output channels in a panel of packed weights."""
    @property
    def arena_bytes(self) -> int:
        """Memory of a plan beside the weights."""

def levels() -> list[tuple[str, bool]]:
    """Instruction sets in this build, plainest first, and whether this processor runs them."""

def kernel_lists(level: str) -> list[str]:
    """Names of its kernels for floats, bytes and halves ("": none), which instruction sets may share."""

def fill_mask(
    level: str,
    logits: Floats,
    top: NDArray[np.int32],
    bottom: NDArray[np.int32],
    down: Floats,
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    across: Floats,
    out: NDArray[np.uint8],
) -> None:
    """Write the mask (H, W) of logits (K, h, w): for each row the two of `h` that it lies between and the weight of the
    second, for each column the same of `w`.
    """

class TrainingKernels:
    """Depthwise convolution and batch norm with non-linearity, forward and backward (`native/training/`).

    Maps are channels last, (N, H, W, C) with C a multiple of 8, as anything that speaks DLPack: float32
    or bfloat16. Weights (C, k, k) and numbers a channel are float32, sums (2, C) float64. `out` and `sums`
    are written. act: 0 none, 1 ReLU, 2 h-swish.
    """

    def __init__(self, level: str, threads: int) -> None: ...
    @property
    def name(self) -> str: ...
    def depthwise(self, x: object, weights: object, out: object, stride: int, dilation: int, padding: int) -> None: ...
    def depthwise_input(
        self, gradient: object, weights: object, out: object, stride: int, dilation: int, padding: int
    ) -> None: ...
    def depthwise_weights(
        self, gradient: object, x: object, out: object, stride: int, dilation: int, padding: int
    ) -> None: ...
    def moments(self, x: object, sums: object) -> None: ...
    def affine(self, x: object, scale: object, shift: object, act: int, out: object) -> None: ...
    def affine_sums(
        self, gradient: object, x: object, scale: object, shift: object, act: int, sums: object
    ) -> None: ...
    def affine_input(
        self,
        gradient: object,
        x: object,
        scale: object,
        shift: object,
        act: int,
        slope: object,
        offset: object,
        out: object,
    ) -> None: ...
