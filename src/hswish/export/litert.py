"""LiteRT (TensorFlow Lite): `.tflite`, channels last, written operator by operator.

The flatbuffer is built here rather than by a converter, so that each operation is the one
builtin its kernels are fastest for: h-swish is HARD_SWISH, pooling MEAN, h-sigmoid the RELU6 of
the convolution before it and a scale, and no transposes stand anywhere. In 8 bits, h-sigmoid is the
range of that convolution's bytes: they end where it does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hswish.export.job import Job, Writer
from hswish.export.litert_metadata import METADATA_NAME, metadata, with_labels
from hswish.export.litert_model import FlatModel
from hswish.quantize.places import Scheme
from hswish.quantize.splitting import CLIPPED, factors
from hswish.runtime.exported import not_importable
from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.interface import INTERFACE_KEY
from hswish.spec.quantized import Range


class LiteRtWriter(Writer):
    """Writes `.tflite`."""

    name = "litert"
    suffix = ".tflite"
    engine = "litert"
    # Bytes stand between a convolution and its h-swish, and XNNPACK's layers on bytes give bytes only.
    scheme = Scheme(
        fused=frozenset(("relu", "hard_sigmoid")),
        fused_add=False,
        float_results=False,
        rounds_scores=True,
        float_first=True,
        float_gated=True,
        one_range=True,
        squeeze="int8",
    )
    why_static = "its fast kernels (XNNPACK) are set up for one size; give --size"

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        try:
            import flatbuffers
            from ai_edge_litert import schema_py_generated as schema
        except ImportError as error:
            raise not_importable(error, "ai-edge-litert", "litert", "exporting to LiteRT") from error
        lowering = _Lowering(schema, job)
        model = lowering.model
        height, width = job.interface.size or (0, 0)
        model.entry(METADATA_NAME, metadata(flatbuffers.Builder(), job.description, job.interface, (height, width)))
        model.entry(METADATA_KEY, job.description.to_json().encode())
        model.entry(INTERFACE_KEY, job.interface.to_json().encode())
        builder = flatbuffers.Builder(2**20)
        builder.Finish(lowering.finish().Pack(builder), file_identifier=b"TFL3")
        path.write_bytes(with_labels(bytes(builder.Output()), job.description.classes))


class _Lowering:
    def __init__(self, schema: Any, job: Job) -> None:
        self.schema, self.job, self.graph, self.net = schema, job, job.graph, job.quantized
        self.factors = factors(self.net) if self.net is not None else {}
        self.model = FlatModel(schema)
        self.held: dict[tuple[str, bool], int] = {}  # tensor of each (value, in bytes)
        pixels = self.graph.takes_pixels
        shape = self.graph.input_shape if pixels else _last(self.graph.input_shape)
        self.entry = self.model.pixels(g.INPUT, shape) if pixels else self.model.tensor(g.INPUT, shape)
        self.held[g.INPUT, False] = self.entry
        for node, kind, name in self.graph.fused():
            self._lower(node, kind, name)

    def finish(self) -> Any:
        """The whole model."""
        return self.model.finish((g.INPUT, self.entry), (g.OUTPUT, self._read(self.graph.output, False)))

    # --- Values ------------------------------------------------------------------------------

    def _read(self, name: str, in_bytes: bool) -> int:
        """The tensor of a value in the type asked for, converted once where it was made in the other."""
        if (name, in_bytes) not in self.held:
            source = self.held[name, not in_bytes]
            self._made(
                name, self.model.tensors[source].shape, in_bytes, "QUANTIZE" if in_bytes else "DEQUANTIZE", [source]
            )
        return self.held[name, in_bytes]

    def _made(
        self,
        name: str,
        shape: tuple[int, ...],
        in_bytes: bool,
        kind: str,
        inputs: list[int],
        options: Any = None,
    ) -> int:
        """Append the operator that makes the value `name`."""
        held = self._range(name) if in_bytes else None
        tensor = self.model.tensor(name, shape, "INT8" if in_bytes else "FLOAT32", held=held)
        self.held[name, in_bytes] = tensor
        return self.model.step(kind, inputs, tensor, options)

    def _range(self, name: str) -> Range:
        assert self.net is not None
        held = self.net.values[name]
        return replace(held, scale=held.scale * self.factors.get(name, 1.0))

    def _in_bytes(self, node: g.Node, name: str) -> bool:
        """Whether a node computes on bytes: what it reads and makes is held so.

        A pooling window does not: on bytes it is slow, and gives the range that it reads whatever its own is.
        """
        net = self.net
        if isinstance(node, g.WindowPool):
            return False
        if net is None or name not in net.values or any(value not in net.values for value in node.inputs):
            return False
        return not isinstance(node, (g.Convolution, g.Linear)) or node.name in net.scales

    # --- Operations --------------------------------------------------------------------------

    def _lower(self, node: g.Node, fused: g.ActivationKind | None, name: str) -> None:
        """Append the operators of `node` and of the activation after it; the result is called `name`."""
        layer = isinstance(node, (g.Convolution, g.Linear))
        if fused is None:
            self._compute(node, node.name, "NONE")
        elif fused == "relu":
            self._compute(node, name, "RELU")
        elif fused == "hard_sigmoid" and layer and self._in_bytes(node, name):
            self._compute(node, name, "NONE", gate=True)  # (x + 3) / 6, which its bytes end at 0 and 1
        elif fused == "hard_sigmoid" and isinstance(node, g.Convolution) and not self._in_bytes(node, node.name):
            self._compute(node, node.name, "RELU6", shift=3.0)
            self._sixth(self._read(node.name, False), name, _last(node.shape))
        else:
            self._compute(node, node.name, "NONE")
            self._activation(fused, node.name, name, _last(node.shape))

    def _compute(self, node: g.Node, name: str, clip: str, shift: float = 0.0, gate: bool = False) -> None:
        """Append the operator of `node`, whose result is called `name`."""
        shape, code = _last(node.shape), getattr(self.schema.ActivationFunctionType, clip)
        if isinstance(node, (g.Convolution, g.Linear)):
            self._layer(node, name, code, shift, gate)
            return
        if isinstance(node, g.Activation):
            self._activation(node.kind, node.inputs[0], name, shape)
            return
        in_bytes = self._in_bytes(node, name)
        inputs = [self._read(value, in_bytes) for value in node.inputs]
        options, constant = self.model.options, self.model.constant
        match node:
            case g.GlobalPool():
                axes = constant(f"{name}.axes", np.array([1, 2], np.int32))
                self._made(name, shape, in_bytes, "MEAN", [*inputs, axes], options("Reducer", keepDims=True))
            case g.WindowPool():
                self._made(name, shape, in_bytes, "AVERAGE_POOL_2D", inputs, self._window(node))
            case g.Add():
                self._made(name, shape, in_bytes, "ADD", inputs, options("Add", fusedActivationFunction=code))
            case g.Multiply():
                self._made(name, shape, in_bytes, "MUL", inputs, options("Mul"))
            case g.Concat():
                self._made(name, shape, in_bytes, "CONCATENATION", inputs, options("Concatenation", axis=3))
            case g.Flatten():
                self._reshaped(name, shape, in_bytes, inputs[0])
            case g.Resize():
                size = constant(f"{name}.size", np.array(node.shape[2:], np.int32))
                corners = node.align_corners
                resize = options("ResizeBilinear", alignCorners=corners, halfPixelCenters=not corners)
                self._made(name, shape, in_bytes, "RESIZE_BILINEAR", [inputs[0], size], resize)
            case g.FromPixels():
                self._from_pixels(node, inputs, shape)
            case g.Grey():
                self._grey(node, shape)
            case g.ArgMax():
                self._argmax(node, inputs)

    def _activation(self, kind: g.ActivationKind, source: str, name: str, shape: tuple[int, ...]) -> None:
        net = self.net
        in_bytes = net is not None and source in net.values and name in net.values and kind != "hard_sigmoid"
        value = self._read(source, in_bytes)
        if kind == "hard_sigmoid":
            three = self.model.constant(f"{name}.three", np.array([3], np.float32))
            clipped = self.model.options("Add", fusedActivationFunction=self.schema.ActivationFunctionType.RELU6)
            value = self._made(f"{name}.clipped", shape, False, "ADD", [value, three], clipped)
            self._sixth(value, name, shape)
        elif kind == "hard_swish" and name in self.factors:
            self._split(source, name, shape)
        elif kind == "hard_swish":
            self._made(name, shape, in_bytes, "HARD_SWISH", [value], self.model.options("HardSwish"))
        else:
            self._made(name, shape, in_bytes, {"relu": "RELU", "sigmoid": "LOGISTIC"}[kind], [value])

    def _split(self, source: str, name: str, shape: tuple[int, ...]) -> None:
        """Six times h-swish, on bytes: x * clip(x + 3, 0, 6)."""
        model, three = self.model, Range.over(0.0, 3.0)
        value = self._read(source, True)
        summand = model.tensor(f"{name}.three", (1,), "INT8", np.array([127], np.int8), three)
        clipped = model.tensor(f"{name}.clipped", shape, "INT8", held=CLIPPED)
        model.step("ADD", [value, summand], clipped, model.options("Add"))
        self._made(name, shape, True, "MUL", [value, clipped], model.options("Mul"))

    def _sixth(self, value: int, name: str, shape: tuple[int, ...]) -> None:
        sixth = self.model.constant(f"{name}.sixth", np.array([1 / 6], np.float32))
        self._made(name, shape, False, "MUL", [value, sixth], self.model.options("Mul"))

    def _layer(self, node: g.Convolution | g.Linear, name: str, code: int, shift: float, gate: bool) -> None:
        """A convolution or a linear layer; padding that SAME cannot express becomes a step of its own."""
        in_bytes = self._in_bytes(node, name)
        source = self._read(node.inputs[0], in_bytes)
        if isinstance(node, g.Linear):
            kind, axis = "FULLY_CONNECTED", 0
            axes: tuple[int, ...] = (0, 1)
            options = self.model.options("FullyConnected", fusedActivationFunction=code)
        else:
            source, padding = self._padded(node, source, in_bytes)
            about = {"padding": padding, "strideH": node.stride, "strideW": node.stride}
            about |= {
                "dilationHFactor": node.dilation,
                "dilationWFactor": node.dilation,
                "fusedActivationFunction": code,
            }
            if node.depthwise:
                kind, axes, axis = "DEPTHWISE_CONV_2D", (1, 2, 3, 0), 3
                multiplier = node.weight.shape[0] // node.groups
                options = self.model.options("DepthwiseConv2D", depthMultiplier=multiplier, **about)
            else:
                kind, axes, axis = "CONV_2D", (0, 2, 3, 1), 0
                options = self.model.options("Conv2D", **about)
        factor = self.factors.get(node.inputs[0], 1.0)
        if in_bytes:
            weights = self._codes(node, axes, axis, gate, factor)
        else:
            bias = (node.bias + np.float32(shift)).astype(np.float32)
            weights = [self._weight(node, axes, axis, factor), self.model.constant(f"{node.name}.bias", bias)]
        self._made(name, _last(node.shape), in_bytes, kind, [source, *weights], options)

    def _codes(
        self, node: g.Convolution | g.Linear, axes: tuple[int, ...], axis: int, gate: bool, factor: float
    ) -> list[int]:
        """Integer weights and biases. Of a gate: those of (x + 3) / 6."""
        assert self.net is not None
        codes, product = self.net.integers(node.name), self.net.product_scale(node.name)
        assert codes.bias is not None
        scale, bias = codes.scale, codes.bias
        if gate:
            bias = bias + np.rint(3 / product.astype(np.float64)).astype(np.int32)
            scale, product = scale / np.float32(6), product / np.float32(6)
        weight = np.ascontiguousarray(codes.weight.transpose(axes))
        return [
            self.model.codes_constant(f"{node.name}.weight", weight, scale / np.float32(factor), axis),
            self.model.codes_constant(f"{node.name}.bias", bias, product, 0),
        ]

    def _weight(self, node: g.Convolution | g.Linear, axes: tuple[int, ...], axis: int, factor: float) -> int:
        """Weights to compute with in float32; smaller ones are widened once, when XNNPACK opens the file."""
        name, values = f"{node.name}.weight", np.ascontiguousarray(node.weight.transpose(axes))
        values = values / np.float32(factor)
        if self.net is not None and node.name in self.net.scales:
            codes = self.net.integers(node.name)
            weight = np.ascontiguousarray(codes.weight.transpose(axes))
            stored = self.model.codes_constant(f"{name}.codes", weight, codes.scale / np.float32(factor), axis)
        elif self.job.half:
            stored = self.model.constant(f"{name}.half", values.astype(np.float16))
        else:
            return self.model.constant(name, values)
        return self.model.step("DEQUANTIZE", [stored], self.model.tensor(name, values.shape))

    def _padded(self, node: g.Convolution, source: int, in_bytes: bool) -> tuple[int, int]:
        """What the convolution reads, and its kind of padding. XNNPACK fuses a PAD of float32 again."""
        valid, same = self.schema.Padding.VALID, self.schema.Padding.SAME
        if not any(node.padding):
            return source, valid
        _, height, width, channels = self.model.tensors[source].shape
        if node.padding == node.same_padding(height, width):
            return source, same
        top, left, bottom, right = node.padding
        amounts = self.model.constant(
            f"{node.name}.padding", np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        )
        shape = (1, height + top + bottom, width + left + right, channels)
        held = self._range(node.inputs[0]) if in_bytes else None
        made = self.model.tensor(f"{node.name}.padded", shape, "INT8" if in_bytes else "FLOAT32", held=held)
        return self.model.step("PAD", [source, amounts], made, self.model.options("Pad")), valid

    def _window(self, node: g.WindowPool) -> Any:
        return self.model.options(
            "Pool2D",
            padding=self.schema.Padding.VALID,
            filterHeight=node.window[0],
            filterWidth=node.window[1],
            strideH=node.stride[0],
            strideW=node.stride[1],
        )

    def _from_pixels(self, node: g.FromPixels, inputs: list[int], shape: tuple[int, ...]) -> None:
        self._scaled(node, self._made(f"{node.name}.float", shape, False, "DEQUANTIZE", inputs), shape)

    def _grey(self, node: g.Grey, shape: tuple[int, ...]) -> None:
        name = f"{node.name}.sum"
        self._layer(node.convolution, name, self.schema.ActivationFunctionType.NONE, 0.0, False)
        self._scaled(node, self._made(f"{node.name}.whole", shape, False, "FLOOR", [self._read(name, False)]), shape)

    def _scaled(self, node: g.FromPixels | g.Grey, value: int, shape: tuple[int, ...]) -> None:
        """Each channel times its scale, plus its shift; by whole rows, as XNNPACK repeats three numbers slowly."""
        name, options = node.name, self.model.options
        n, height, width, channels = shape
        rows = (n, height, width * channels)
        scale, shift = (
            self.model.constant(f"{name}.{key}", np.tile(getattr(node, key), width)) for key in ("scale", "shift")
        )
        value = self._reshaped(f"{name}.rows", rows, False, value)
        value = self._made(f"{name}.scaled", rows, False, "MUL", [value, scale], options("Mul"))
        value = self._made(f"{name}.shifted", rows, False, "ADD", [value, shift], options("Add"))
        self._reshaped(name, shape, False, value)

    def _reshaped(self, name: str, shape: tuple[int, ...], in_bytes: bool, value: int) -> int:
        wanted = self.model.constant(f"{name}.shape", np.array(shape, np.int32))
        options = self.model.options("Reshape", newShape=list(shape))
        return self._made(name, shape, in_bytes, "RESHAPE", [value, wanted], options)

    def _argmax(self, node: g.ArgMax, inputs: list[int]) -> None:
        axis = self.model.constant(f"{node.name}.axis", np.array([3], np.int32))
        options = self.model.options("ArgMax", outputType=self.schema.TensorType.INT32)
        best = self.model.tensor(f"{node.name}.index", node.shape, "INT32")
        self.model.step("ARG_MAX", [*inputs, axis], best, options)
        mask = self.model.tensor(node.name, node.shape, "UINT8")
        self.held[node.name, False] = self.model.step("CAST", [best], mask, self._cast("INT32", "UINT8"))

    def _cast(self, given: str, made: str) -> Any:
        types = self.schema.TensorType
        return self.model.options("Cast", inDataType=getattr(types, given), outDataType=getattr(types, made))


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N, C, H, W) as (N, H, W, C); (N, C) as it is."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape
