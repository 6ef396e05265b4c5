"""ncnn: `.param` (the layers, as text) and `.bin` (their weights), written layer by layer.

ncnn has no metadata, so the description lies beside them as `.json`. It has no tensors of bytes
either: where the file takes pixels, ncnn's own `Mat::from_pixels` turns them into planes of floats,
and the classes of a mask are floats. Non-linearities are fused into the convolutions where ncnn has
the fused kernel, which is what its own optimiser does.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.export.job import Job, Writer
from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.interface import INTERFACE_KEY

_MAGIC = 7767517  # of the text format, version 2015
_FLOAT16_TAG = 0x01306B47  # before weights that are stored in half precision
_FUSED: dict[str, tuple[int, list[float]]] = {"relu": (1, []), "sigmoid": (4, []), "hard_swish": (6, [1 / 6, 0.5])}
_ALONE = {"relu": "ReLU", "sigmoid": "Sigmoid", "hard_swish": "HardSwish", "hard_sigmoid": "HardSigmoid"}
_FLOOR, _SUBTRACT, _FROM_NUMBER = 2, 1, 7
"""codes of UnaryOp and BinaryOp; the last is a number less the value"""
_LARGEST: dict[int, Any] = {0: 4, 1: 0, -23303: [0], 4: 1, 5: 1}
"""Reduction to the largest channel, which is kept as one channel"""
_HARD = {0: 1 / 6, 1: 0.5}
"""alpha and beta of the hard non-linearities: clip(alpha * x + beta, 0, 1)"""


class NcnnWriter(Writer):
    """Writes `.ncnn.param`, with `.ncnn.bin` and `.ncnn.json` beside it."""

    name = "ncnn"
    suffix = ".ncnn.param"
    engine = "ncnn"
    why_no_int8 = "its int8 kernels know neither unsigned bytes nor h-swish on them (Tencent/ncnn#3007); use --half"
    why_no_int8_weights = "it widens them in kernels of its own format only; use --half"
    why_static = "its nets have no batch, and their paddings and sizes are numbers for one input; give --size"

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        net = _Net(job)
        path.write_text(net.text(), encoding="ascii")
        path.with_suffix(".bin").write_bytes(b"".join(net.weights))
        documents = {METADATA_KEY: job.description.to_json(), INTERFACE_KEY: job.interface.to_json()}
        path.with_suffix(".json").write_text(
            json.dumps({key: json.loads(text) for key, text in documents.items()}, indent=2) + "\n", encoding="utf-8"
        )


class _Net:
    """The lines and weights of a net, while they grow."""

    def __init__(self, job: Job) -> None:
        self.job, self.graph = job, job.graph
        self.lines: list[str] = []
        self.weights: list[bytes] = []
        self.blobs = 0
        self.pending: dict[str, list[str]] = {}  # copies of a value that is read several times
        _, channels, height, width = self.graph.input_shape
        if self.graph.takes_pixels:  # ncnn's own Mat::from_pixels makes planes of floats of them
            _, height, width, channels = self.graph.input_shape
        steps = list(self.graph.fused())
        # A convolution's h-sigmoid stays apart: ncnn has no such fused kernel.
        reads = [name for node, _, _ in steps for name in _read(node)]
        self.uses = {name: reads.count(name) for name in {*reads, self.graph.output}}
        self._layer("Input", [], g.INPUT, {0: width, 1: height, 2: channels})
        for node, kind, name in steps:
            self._lower(node, kind, name)

    def text(self) -> str:
        """The whole `.param`."""
        return "\n".join([str(_MAGIC), f"{len(self.lines)} {self.blobs}", *self.lines]) + "\n"

    def _layer(self, kind: str, inputs: list[str], output: str, values: dict[int, Any] | None = None) -> None:
        """Append one layer; where its output is read several times, a Split after it makes the copies."""
        taken = [self._take(name) for name in inputs]
        uses = self.uses.get(output, 1)
        made = g.OUTPUT if output == self.graph.output else output
        self._line(kind, output, taken, [made], values or {})
        if uses > 1:
            copies = [f"{output}.{index}" for index in range(uses)]
            self._line("Split", f"{output}.split", [made], copies, {})
            self.pending[output] = copies

    def _line(self, kind: str, name: str, inputs: list[str], outputs: list[str], values: dict[int, Any]) -> None:
        self.blobs += len(outputs)
        counts = f"{len(inputs)} {len(outputs)}"
        parts = [f"{key}={_text(value)}" if key >= 0 else f"{key}={_array(value)}" for key, value in values.items()]
        self.lines.append(" ".join([kind, name, counts, *inputs, *outputs, *parts]))

    def _take(self, name: str) -> str:
        copies = self.pending.get(name)
        return copies.pop(0) if copies else name

    def _lower(self, node: g.Node, fused: g.ActivationKind | None, name: str) -> None:
        """Append what computes `node` and the activation after it; the result is called `name`."""
        inside = fused in _FUSED and isinstance(node, (g.Convolution, g.Linear))
        first = name if inside or fused is None else node.name
        self._compute(node, first, fused if inside else None)
        if fused is not None and not inside:
            self._activation(fused, first, name)

    def _compute(self, node: g.Node, name: str, fused: str | None) -> None:
        inputs = _read(node)
        match node:
            case g.Convolution():
                self._convolution(node, name, fused)
            case g.Linear():
                self._inner_product(node, inputs, name, fused)
            case g.Activation():
                self._activation(node.kind, inputs[0], name)
            case g.GlobalPool():
                self._layer("Pooling", inputs, name, {0: 1, 4: 1})  # gives a vector, without height and width
            case g.WindowPool():
                (height, width), (down, across) = node.window, node.stride
                self._layer("Pooling", inputs, name, {0: 1, 1: width, 11: height, 2: across, 12: down, 5: 1})
            case g.Add():
                self._layer("BinaryOp", inputs, name, {0: 0})
            case g.Multiply():
                self._layer("BinaryOp", inputs, name, {0: 2})
            case g.Concat():
                self._layer("Concat", inputs, name, {0: 0})
            case g.Flatten():
                self._layer("Flatten", inputs, name)
            case g.Resize():
                height, width = node.shape[2:]
                self._layer("Interp", inputs, name, {0: 2, 3: height, 4: width, 6: int(node.align_corners)})
            case g.FromPixels():
                self._scale(inputs[0], name, node.scale, node.shift)
            case g.Grey():
                self._convolution(node.convolution, f"{name}.sum", None)
                self._layer("UnaryOp", [f"{name}.sum"], f"{name}.whole", {0: _FLOOR})
                self._scale(f"{name}.whole", name, node.scale, node.shift)
            case g.ArgMax():
                self._argmax(inputs[0], name)

    def _scale(self, source: str, name: str, scale: NDArray[np.float32], shift: NDArray[np.float32] | None) -> None:
        """Each channel times its scale, plus its shift; these weights have no tag before them."""
        self._layer("Scale", [source], name, {0: len(scale), 1: int(shift is not None)})
        self.weights += [values.tobytes() for values in (scale, shift) if values is not None]

    def _argmax(self, source: str, name: str) -> None:
        """The first of the largest channels, which ncnn has no layer for, from layers that it has.

        What equals the largest becomes 1 and all else 0; times K, K-1, ..., 1 the largest of that is
        K less the wanted index. Every step is exact.
        """
        classes = self.graph.shape(source)[1]
        self._layer("Reduction", [source], f"{name}.largest", _LARGEST)
        self._layer("BinaryOp", [source, f"{name}.largest"], f"{name}.below", {0: _SUBTRACT})
        self._layer("Threshold", [f"{name}.below"], f"{name}.hit", {0: -1e-38})
        self._scale(f"{name}.hit", f"{name}.places", np.arange(classes, 0, -1, dtype=np.float32), None)
        self._layer("Reduction", [f"{name}.places"], f"{name}.left", _LARGEST)
        self._layer("BinaryOp", [f"{name}.left"], name, {0: _FROM_NUMBER, 1: 1, 2: float(classes)})

    def _activation(self, kind: str, source: str, name: str) -> None:
        self._layer(_ALONE[kind], [source], name, dict(_HARD) if kind.startswith("hard") else {})

    def _convolution(self, node: g.Convolution, name: str, fused: str | None) -> None:
        top, left, bottom, right = node.padding
        side = node.weight.shape[2]
        values: dict[int, Any] = {
            0: len(node.bias), 1: side, 2: node.dilation, 3: node.stride, 4: left, 14: top, 15: right, 16: bottom,
            5: 1, 6: node.weight.size,
        }  # fmt: skip
        if node.groups > 1:
            values[7] = node.groups
        if side == node.groups == 1 and self._is_pooled(node.inputs[0]):
            self._inner_product(node, list(node.inputs), name, fused)
            return
        kind = "ConvolutionDepthWise" if node.groups > 1 else "Convolution"
        self._layer(kind, list(node.inputs), name, {**values, **_fusion(fused)})
        self._store(node.weight, node.bias)

    def _is_pooled(self, name: str) -> bool:
        """Whether a value is a vector, made of a pooled map; a map of 1x1 pixels has height and width in ncnn."""
        if name == g.INPUT or self.graph.shape(name)[2:] != (1, 1):
            return False
        node = self.graph[name]
        if isinstance(node, (g.GlobalPool, g.WindowPool)):
            return True
        if isinstance(node, g.Convolution) and (node.groups > 1 or node.weight.shape[2] > 1):
            return False
        return isinstance(node, (g.Convolution, g.Activation)) and self._is_pooled(node.inputs[0])

    def _inner_product(self, node: g.Convolution | g.Linear, inputs: list[str], name: str, fused: str | None) -> None:
        values = {0: len(node.bias), 1: 1, 2: node.weight.size, **_fusion(fused)}
        self._layer("InnerProduct", inputs, name, values)
        self._store(node.weight, node.bias)

    def _store(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        if self.job.half:
            data = weight.astype(np.float16).tobytes()
            self.weights.append(struct.pack("<I", _FLOAT16_TAG) + data + bytes(-len(data) % 4))
        else:
            self.weights.append(struct.pack("<I", 0) + weight.tobytes())
        self.weights.append(bias.tobytes())


def _read(node: g.Node) -> list[str]:
    """The values that a node's layers read: of a resize only the first, its size is a number here."""
    if isinstance(node, g.ArgMax):
        return list(node.inputs * 2)
    return list(node.inputs[:1] if isinstance(node, g.Resize) else node.inputs)


def _fusion(fused: str | None) -> dict[int, Any]:
    if fused is None:
        return {}
    code, parameters = _FUSED[fused]
    return {9: code, **({-23310: parameters} if parameters else {})}


def _text(value: int | float) -> str:
    return f"{value:e}" if isinstance(value, float) else str(value)


def _array(values: list[Any]) -> str:
    return ",".join([str(len(values)), *map(_text, values)])
