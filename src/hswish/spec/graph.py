"""A trained network as a short list of operations: what every format is written from.

A dozen operations suffice for all our networks. Batch norm is folded, weights are numpy arrays,
and h-swish, h-sigmoid, global pooling and resizing are single nodes, so that a writer can give
each to the one operator its runtime has for it. Values are (N, C, H, W), as in torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

INPUT = "input"
OUTPUT = "output"
"""Names of the input and the output in every format that has names."""

ActivationKind = Literal["relu", "hard_swish", "hard_sigmoid", "sigmoid"]


def same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side of `size` pixels, as TensorFlow's SAME adds them for ceil(size / stride) results.

    Args:
        extent: pixels under the kernel, the gaps of a dilated one included.
    """
    short = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return short // 2, short - short // 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation; its output value has its name."""

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    """of the output for one picture at the export's size: (1, C, H, W) or (1, C)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Node):
    """Two-dimensional convolution."""

    weight: NDArray[np.float32]
    """(out, in / groups, k, k)"""
    bias: NDArray[np.float32]
    """(out,)"""
    stride: int
    dilation: int
    groups: int
    padding: tuple[int, int, int, int]
    """zeros added at top, left, bottom, right in pixels, at the export's size"""
    same: bool
    """the padding follows the input's size, as TensorFlow's SAME"""

    @property
    def depthwise(self) -> bool:
        """One filter a channel."""
        return self.groups > 1 and self.weight.shape[1] == 1

    def same_padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """TensorFlow's SAME padding of pictures of this size: top, left, bottom, right."""
        extent = self.dilation * (self.weight.shape[2] - 1) + 1
        (top, bottom), (left, right) = (same_padding(side, extent, self.stride) for side in (height, width))
        return top, left, bottom, right


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Node):
    """(N, in) to (N, out)."""

    weight: NDArray[np.float32]
    """(out, in)"""
    bias: NDArray[np.float32]
    """(out,)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Node):
    """A non-linearity, value by value."""

    kind: ActivationKind


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalPool(Node):
    """Mean over height and width, which stay as 1 x 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowPool(Node):
    """Mean over a window; VALID, so the window lies within the map."""

    asked: int
    """side of the window before it was cut to the map"""
    window: tuple[int, int]
    """(height, width) at the export's size"""
    stride: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """Sum of two values of one shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Node):
    """Product of two values; one may be (N, C, 1, 1)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """Channels of two values, one after the other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Node):
    """(N, C, 1, 1) to (N, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resize(Node):
    """Bilinear, to the height and width of the second input."""

    align_corners: bool
    """corner pixels map to corner pixels; otherwise edges to edges (half-pixel centres)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class FromPixels(Node):
    """(N, H, W, 3) uint8 RGB to the network's input: pixel * scale + shift, channels first."""

    scale: NDArray[np.float32]
    """(3,), by channel"""
    shift: NDArray[np.float32]
    """(3,), by channel"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grey(Node):
    """(N, 3, H, W) colours 0 to 255 to a grey network's input: floor(convolution) * scale + shift.

    Equal to Pillow's (19595 R + 38470 G + 7471 B + 32768) >> 16 in every bit: each term and each sum has
    at most 24 binary digits, so float32 holds it exactly in whatever order a runtime adds.
    """

    weight: NDArray[np.float32]
    """(1, 3, 1, 1)"""
    bias: NDArray[np.float32]
    """(1,)"""
    scale: NDArray[np.float32]
    """(1,)"""
    shift: NDArray[np.float32]
    """(1,)"""

    @property
    def convolution(self) -> Convolution:
        """What is rounded down."""
        return Convolution(
            name=f"{self.name}.sum", inputs=self.inputs, shape=self.shape, weight=self.weight, bias=self.bias,
            stride=1, dilation=1, groups=1, padding=(0, 0, 0, 0), same=False,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Node):
    """(N, K, H, W) to (N, H, W) uint8: the likeliest class; of equal ones the first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Operations in an order in which they can be run."""

    input_shape: tuple[int, int, int, int]
    """(1, C, H, W), or (1, H, W, 3) where the first node takes pixels"""
    nodes: tuple[Node, ...]
    output: str
    """name of the value that is the answer"""

    @property
    def takes_pixels(self) -> bool:
        """Whether the input is uint8 pixels."""
        return isinstance(self.nodes[0], FromPixels)

    @property
    def gives_mask(self) -> bool:
        """Whether the output is a uint8 mask."""
        return isinstance(self.nodes[-1], ArgMax)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one picture's answer."""
        return self[self.output].shape

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value, the input's included."""
        return self.input_shape if name == INPUT else self[name].shape

    def counts(self) -> dict[str, int]:
        """How many there are of each operation."""
        return dict(Counter(type(node).__name__ for node in self.nodes))

    def fused(self) -> Iterator[tuple[Node, ActivationKind | None, str]]:
        """Nodes with the activation that may be computed in the same step: (node, kind, name of the result).

        Only convolutions, linear layers and sums take one in, and only where nothing else reads the
        value before the activation.
        """
        uses = Counter(name for node in self.nodes for name in node.inputs)
        following = {node.inputs[0]: node for node in self.nodes if isinstance(node, Activation)}
        swallowed: set[str] = set()
        for node in self.nodes:
            if node.name in swallowed:
                continue
            act = following.get(node.name)
            if isinstance(node, (Convolution, Linear, Add)) and act is not None and uses[node.name] == 1:
                swallowed.add(act.name)
                yield node, act.kind, act.name
            else:
                yield node, None, node.name
