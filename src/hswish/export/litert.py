"""LiteRT (TensorFlow Lite): `.tflite`, channels last, written operator by operator.

The flatbuffer is built here rather than by a converter, so that each operation is the one
builtin its kernels are fastest for: h-swish is HARD_SWISH, pooling MEAN, h-sigmoid the RELU6 of
the convolution before it and a scale, and no transposes stand anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.export.job import Job, Writer
from hswish.export.litert_metadata import METADATA_NAME, metadata, with_labels
from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import MissingPackageError
from hswish.spec.interface import INTERFACE_KEY

_SCHEMA_VERSION = 3
_ALIGNMENT = 16  # of a buffer's data, as the schema asks
_VERSIONS = {"RESIZE_BILINEAR": 3, "FULLY_CONNECTED": 1, "DEQUANTIZE": 2}
"""of operators whose options are newer than version 1"""


class LiteRtWriter(Writer):
    """Writes `.tflite`."""

    name = "litert"
    suffix = ".tflite"
    engine = "litert"
    why_static = "its fast kernels (XNNPACK) and its resize are fixed to one size; give --size"

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        try:
            import flatbuffers
            from ai_edge_litert import schema_py_generated as schema
        except ModuleNotFoundError as error:
            raise MissingPackageError(str(error.name), "litert", "exporting to LiteRT") from error
        model = _Model(schema, job)
        height, width = job.interface.size or (0, 0)
        model.entry(METADATA_NAME, metadata(flatbuffers.Builder(), job.description, job.interface, (height, width)))
        model.entry(METADATA_KEY, job.description.to_json().encode())
        model.entry(INTERFACE_KEY, job.interface.to_json().encode())
        builder = flatbuffers.Builder(2**20)
        builder.Finish(model.finish().Pack(builder), file_identifier=b"TFL3")
        path.write_bytes(with_labels(bytes(builder.Output()), job.description.classes))


class _Model:
    """The lists that a TFLite model consists of, while they grow."""

    def __init__(self, schema: Any, job: Job) -> None:
        self.schema, self.job, self.graph = schema, job, job.graph
        self.buffers: list[Any] = [_buffer(schema, None)]  # the first means "no data"
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[Any] = []
        self.entries: list[Any] = []
        self.at: dict[str, int] = {}  # tensor index of each value
        self._tensor(
            g.INPUT,
            self.graph.input_shape if self.graph.takes_pixels else _last(self.graph.input_shape),
            "UINT8" if self.graph.takes_pixels else "FLOAT32",
        )
        for node, kind, name in self.graph.fused():
            self._lower(node, kind, name)

    def entry(self, name: str, data: bytes) -> None:
        """Add a named piece of metadata."""
        item = self.schema.MetadataT()
        item.name, item.buffer = name, len(self.buffers)
        self.buffers.append(_buffer(self.schema, np.frombuffer(data, np.uint8)))
        self.entries.append(item)

    def finish(self) -> Any:
        """The whole model."""
        schema, inputs, outputs = self.schema, [self.at[g.INPUT]], [self.at[self.graph.output]]
        self.tensors[outputs[0]].name = g.OUTPUT
        subgraph = schema.SubGraphT()
        subgraph.name, subgraph.tensors, subgraph.operators = "main", self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = inputs, outputs
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named(g.INPUT, inputs[0])]
        signature.outputs = [self._named(g.OUTPUT, outputs[0])]
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, "hswish"
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [subgraph], self.buffers
        model.metadata, model.signatureDefs = self.entries, [signature]
        return model

    def _named(self, name: str, index: int) -> Any:
        item = self.schema.TensorMapT()
        item.name, item.tensorIndex = name, index
        return item

    # --- Tensors and operators ---------------------------------------------------------------

    def _tensor(
        self, name: str, shape: tuple[int, ...], kind: str = "FLOAT32", data: NDArray[Any] | None = None
    ) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), getattr(self.schema.TensorType, kind)
        if data is not None:
            tensor.buffer = len(self.buffers)
            self.buffers.append(_buffer(self.schema, np.ascontiguousarray(data).reshape(-1).view(np.uint8)))
        self.tensors.append(tensor)
        self.at[name] = len(self.tensors) - 1
        return self.at[name]

    def _constant(self, name: str, values: NDArray[Any]) -> int:
        kind = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32"}[str(values.dtype)]
        return self._tensor(name, values.shape, kind, values)

    def _weight(self, name: str, values: NDArray[np.float32]) -> int:
        """A matrix of weights; stored as float16 where asked, which XNNPACK widens when the file is opened."""
        if not self.job.half:
            return self._constant(name, values)
        stored = self._constant(f"{name}.half", values.astype(np.float16))
        return self._step("DEQUANTIZE", [stored], name, values.shape)

    def _step(
        self,
        kind: str,
        inputs: list[int],
        output: str,
        shape: tuple[int, ...],
        options: Any = None,
        dtype: str = "FLOAT32",
    ) -> int:
        """Append one operator and return its output's tensor."""
        made = self._tensor(output, shape, dtype)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._code(kind), inputs, [made]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self.operators.append(operator)
        return made

    def _code(self, kind: str) -> int:
        builtin = getattr(self.schema.BuiltinOperator, kind)
        for index, code in enumerate(self.codes):
            if code.builtinCode == builtin:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, _VERSIONS.get(kind, 1)
        code.deprecatedBuiltinCode = min(builtin, 127)
        self.codes.append(code)
        return len(self.codes) - 1

    def _options(self, kind: str, **values: Any) -> Any:
        made = getattr(self.schema, f"{kind}OptionsT")()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    # --- Operations --------------------------------------------------------------------------

    def _lower(self, node: g.Node, fused: g.ActivationKind | None, name: str) -> None:
        """Append the operators of `node` and of the activation after it; the result is called `name`."""
        clip, before, after = "NONE", node.name, fused
        if fused is None:
            before = name
        elif fused == "relu":
            clip, before, after = "RELU", name, None
        elif fused == "hard_sigmoid" and isinstance(node, g.Convolution):
            clip = "RELU6"  # of the sum with 3, which the bias takes in
        inputs = [self.at[value] for value in node.inputs]
        self._compute(node, inputs, before, clip)
        if after is not None:
            self._activation(after, before, name, _last(node.shape), shifted=clip == "RELU6")

    def _compute(self, node: g.Node, inputs: list[int], name: str, clip: str) -> None:
        shape, code = _last(node.shape), getattr(self.schema.ActivationFunctionType, clip)
        match node:
            case g.Convolution():
                self._convolution(node, inputs[0], name, code, shift=3.0 if clip == "RELU6" else 0.0)
            case g.Linear():
                weights = [self._weight(f"{name}.weight", node.weight), self._constant(f"{name}.bias", node.bias)]
                options = self._options("FullyConnected", fusedActivationFunction=code)
                self._step("FULLY_CONNECTED", [*inputs, *weights], name, shape, options)
            case g.Activation():
                self._activation(node.kind, node.inputs[0], name, shape)
            case g.GlobalPool():
                axes = self._constant(f"{name}.axes", np.array([1, 2], np.int32))
                self._step("MEAN", [*inputs, axes], name, shape, self._options("Reducer", keepDims=True))
            case g.WindowPool():
                self._window_pool(node, inputs, name, shape)
            case g.Add():
                self._step("ADD", inputs, name, shape, self._options("Add", fusedActivationFunction=code))
            case g.Multiply():
                self._step("MUL", inputs, name, shape, self._options("Mul"))
            case g.Concat():
                self._step("CONCATENATION", inputs, name, shape, self._options("Concatenation", axis=3))
            case g.Flatten():
                wanted = self._constant(f"{name}.shape", np.array(shape, np.int32))
                self._step("RESHAPE", [*inputs, wanted], name, shape, self._options("Reshape", newShape=list(shape)))
            case g.Resize():
                size = self._constant(f"{name}.size", np.array(node.shape[2:], np.int32))
                options = self._options(
                    "ResizeBilinear", alignCorners=node.align_corners, halfPixelCenters=not node.align_corners
                )
                self._step("RESIZE_BILINEAR", [inputs[0], size], name, shape, options)
            case g.FromPixels():
                value = self._step("CAST", inputs, f"{name}.float", shape, self._cast("UINT8", "FLOAT32"))
                scale, shift = (self._constant(f"{name}.{key}", getattr(node, key)) for key in ("scale", "shift"))
                value = self._step("MUL", [value, scale], f"{name}.scaled", shape, self._options("Mul"))
                self._step("ADD", [value, shift], name, shape, self._options("Add"))
            case g.Grey():
                plain = self.schema.ActivationFunctionType.NONE
                self._convolution(node.convolution, inputs[0], f"{name}.sum", plain, shift=0.0)
                value = self._step("FLOOR", [self.at[f"{name}.sum"]], f"{name}.whole", shape)
                scale, shift = (self._constant(f"{name}.{key}", getattr(node, key)) for key in ("scale", "shift"))
                value = self._step("MUL", [value, scale], f"{name}.scaled", shape, self._options("Mul"))
                self._step("ADD", [value, shift], name, shape, self._options("Add"))
            case g.ArgMax():
                axis = self._constant(f"{name}.axis", np.array([3], np.int32))
                options = self._options("ArgMax", outputType=self.schema.TensorType.INT32)
                best = self._step("ARG_MAX", [*inputs, axis], f"{name}.index", node.shape, options, "INT32")
                self._step("CAST", [best], name, node.shape, self._cast("INT32", "UINT8"), "UINT8")

    def _activation(
        self, kind: g.ActivationKind, source: str, name: str, shape: tuple[int, ...], shifted: bool = False
    ) -> None:
        value = self.at[source]
        if kind == "hard_sigmoid":
            if not shifted:
                three = self._constant(f"{name}.three", np.array([3], np.float32))
                clipped = self._options("Add", fusedActivationFunction=self.schema.ActivationFunctionType.RELU6)
                value = self._step("ADD", [value, three], f"{name}.clipped", shape, clipped)
            sixth = self._constant(f"{name}.sixth", np.array([1 / 6], np.float32))
            self._step("MUL", [value, sixth], name, shape, self._options("Mul"))
        elif kind == "hard_swish":
            self._step("HARD_SWISH", [value], name, shape, self._options("HardSwish"))
        else:
            self._step({"relu": "RELU", "sigmoid": "LOGISTIC"}[kind], [value], name, shape)

    def _convolution(self, node: g.Convolution, source: int, name: str, code: int, shift: float) -> None:
        """A convolution; padding that SAME cannot express becomes a step of its own, which XNNPACK fuses again."""
        top, left, bottom, right = node.padding
        if any(node.padding) and not _is_same(node, self._size(source)):
            batch, height, width, channels = self.tensors[source].shape
            sides = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
            padded = (batch, height + top + bottom, width + left + right, channels)
            amounts = self._constant(f"{name}.padding", sides)
            source = self._step("PAD", [source, amounts], f"{name}.padded", padded, self._options("Pad"))
            same = False
        else:
            same = any(node.padding)
        about = {
            "padding": self.schema.Padding.SAME if same else self.schema.Padding.VALID,
            "strideH": node.stride,
            "strideW": node.stride,
            "dilationHFactor": node.dilation,
            "dilationWFactor": node.dilation,
            "fusedActivationFunction": code,
        }
        if node.depthwise:
            weight, options = (
                node.weight.transpose(1, 2, 3, 0),
                self._options("DepthwiseConv2D", depthMultiplier=node.weight.shape[0] // node.groups, **about),
            )
        else:
            weight, options = node.weight.transpose(0, 2, 3, 1), self._options("Conv2D", **about)
        bias = self._constant(f"{name}.bias", (node.bias + np.float32(shift)).astype(np.float32))
        kind = "DEPTHWISE_CONV_2D" if node.depthwise else "CONV_2D"
        inputs = [source, self._weight(f"{name}.weight", np.ascontiguousarray(weight)), bias]
        self._step(kind, inputs, name, _last(node.shape), options)

    def _window_pool(self, node: g.WindowPool, inputs: list[int], name: str, shape: tuple[int, ...]) -> None:
        options = self._options(
            "Pool2D",
            padding=self.schema.Padding.VALID,
            filterHeight=node.window[0],
            filterWidth=node.window[1],
            strideH=node.stride[0],
            strideW=node.stride[1],
        )
        self._step("AVERAGE_POOL_2D", inputs, name, shape, options)

    def _size(self, tensor: int) -> tuple[int, int]:
        _, height, width, _ = self.tensors[tensor].shape
        return height, width

    def _cast(self, given: str, made: str) -> Any:
        types = self.schema.TensorType
        return self._options("Cast", inDataType=getattr(types, given), outDataType=getattr(types, made))


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N, C, H, W) as (N, H, W, C); (N, C) as it is."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


def _is_same(node: g.Convolution, size: tuple[int, int]) -> bool:
    """Whether TensorFlow's SAME would pad an input of `size` (height, width) as `node` does."""
    extent = node.dilation * (node.weight.shape[2] - 1) + 1
    top, left, bottom, right = node.padding
    for side, given in zip(size, ((top, bottom), (left, right)), strict=True):
        short = max((-(-side // node.stride) - 1) * node.stride + extent - side, 0)
        if given != (short // 2, short - short // 2):
            return False
    return True


def _buffer(schema: Any, data: NDArray[np.uint8] | None) -> Any:
    """A buffer whose data starts at a multiple of 16 bytes, which the generated classes do not see to."""

    class Buffer(schema.BufferT):
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated name
            vector = None
            if data is not None:
                builder.StartVector(1, len(data), _ALIGNMENT)
                head = builder.head = builder.Head() - len(data)
                builder.Bytes[head : head + len(data)] = data.tobytes()
                vector = builder.EndVector()
            schema.BufferStart(builder)
            if vector is not None:
                schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    return Buffer()
