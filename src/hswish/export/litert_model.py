"""The lists that a TFLite model consists of: buffers, tensors, operators, named entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.spec.quantized import Range

_SCHEMA_VERSION = 3
_ALIGNMENT = 16  # of a buffer's data, as the schema asks
_SIGNED = 128
"""TFLite's bytes are signed: q - 128"""
_VERSIONS = {"RESIZE_BILINEAR": 3, "DEQUANTIZE": 2}
"""of operators whose options are newer than version 1"""
_INT8_VERSIONS = {
    **{"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "MUL": 2, "MEAN": 2, "PAD": 2},
    **{"CONCATENATION": 2, "AVERAGE_POOL_2D": 2, "LOGISTIC": 2, "RELU": 2},
}
"""of operators that took int8 in a later version than float32"""
_TYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "int8": "INT8"}


class FlatModel:
    """A TFLite model while it grows."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.buffers: list[Any] = [_buffer(schema, None)]  # the first means "no data"
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[Any] = []
        self.entries: list[Any] = []

    def entry(self, name: str, data: bytes) -> None:
        """Add a named piece of metadata."""
        item = self.schema.MetadataT()
        item.name, item.buffer = name, len(self.buffers)
        self.buffers.append(_buffer(self.schema, np.frombuffer(data, np.uint8)))
        self.entries.append(item)

    def finish(self, entry: tuple[str, int], answer: tuple[str, int]) -> Any:
        """The whole model, from (name, tensor) of what goes in and of what comes out."""
        schema = self.schema
        self.tensors[answer[1]].name = answer[0]
        subgraph = schema.SubGraphT()
        subgraph.name, subgraph.tensors, subgraph.operators = "main", self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = [entry[1]], [answer[1]]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = [self._named(*entry)], [self._named(*answer)]
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, "hswish"
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [subgraph], self.buffers
        model.metadata, model.signatureDefs = self.entries, [signature]
        return model

    def _named(self, name: str, index: int) -> Any:
        item = self.schema.TensorMapT()
        item.name, item.tensorIndex = name, index
        return item

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: str = "FLOAT32",
        data: NDArray[Any] | None = None,
        held: Range | None = None,
    ) -> int:
        """Append a tensor; `held` is the range of its bytes, which are stored signed."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), getattr(self.schema.TensorType, kind)
        if data is not None:
            tensor.buffer = len(self.buffers)
            self.buffers.append(_buffer(self.schema, np.ascontiguousarray(data).reshape(-1).view(np.uint8)))
        if held is not None:
            tensor.quantization = self._quantization(np.array([held.scale]), held.zero_point - _SIGNED)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def pixels(self, name: str, shape: tuple[int, ...]) -> int:
        """Append a tensor of bytes that stand for themselves: DEQUANTIZE reads it, which XNNPACK has, and no CAST."""
        made = self.tensor(name, shape, "UINT8")
        self.tensors[made].quantization = self._quantization(np.ones(1), 0)
        return made

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """Append a tensor that is data."""
        return self.tensor(name, values.shape, _TYPES[str(values.dtype)], values)

    def codes_constant(self, name: str, codes: NDArray[Any], scale: NDArray[np.float32], axis: int) -> int:
        """Append int8 weights or int32 biases with a scale for each index of `axis`."""
        made = self.constant(name, codes)
        self.tensors[made].quantization = self._quantization(scale, 0, axis)
        return made

    def _quantization(self, scale: NDArray[Any], zero_point: int, axis: int = 0) -> Any:
        about = self.schema.QuantizationParametersT()
        about.scale, about.zeroPoint = scale.astype(np.float32), np.full(len(scale), zero_point, np.int64)
        about.quantizedDimension = axis
        return about

    def step(self, kind: str, inputs: list[int], made: int, options: Any = None) -> int:
        """Append one operator that writes the tensor `made`; gives `made`."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._code(kind, made), inputs, [made]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self.operators.append(operator)
        return made

    def _code(self, kind: str, made: int) -> int:
        """Index of an operator's code, whose version is that of the newest type it is used with."""
        builtin = getattr(self.schema.BuiltinOperator, kind)
        int8 = self.tensors[made].type == self.schema.TensorType.INT8
        version = max(_VERSIONS.get(kind, 1), _INT8_VERSIONS.get(kind, 1) if int8 else 1)
        for index, code in enumerate(self.codes):
            if code.builtinCode == builtin:
                code.version = max(code.version, version)
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, version
        code.deprecatedBuiltinCode = min(builtin, 127)
        self.codes.append(code)
        return len(self.codes) - 1

    def options(self, kind: str, **values: Any) -> Any:
        """An operator's settings."""
        made = getattr(self.schema, f"{kind}OptionsT")()
        for name, value in values.items():
            setattr(made, name, value)
        return made


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
