"""A network in 8 bits as one `.int8.safetensors` file: for our own engine, readable with numpy alone.

The metadata holds the description and the interface, as every exported file's does, and under
`hswish_quantized` the graph as JSON: its nodes in order, the ranges of its values. The tensors are named
after the graph's nodes, which are the network's module paths:

    NODE.weight        int8 where NODE.weight_scale is there, otherwise float32
    NODE.weight_scale  float32 (out,)
    NODE.bias          int32 (out,) where the layer computes in integers, otherwise float32
    NODE.scale, .shift float32 (3,) of an embedded normalisation
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY, Description, read_header
from hswish.spec.errors import ModelFileError
from hswish.spec.files import write_aside
from hswish.spec.interface import INTERFACE_KEY, Interface, read_documents
from hswish.spec.quantized import LEVELS, QuantizedGraph, Range

QUANTIZED_KEY = "hswish_quantized"
SUFFIX = ".int8.safetensors"
VERSION = 1
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a document that is not of `write_quantized` leads to."""
_ARRAYS = ("weight", "bias", "scale", "shift")
_KINDS: dict[str, type[g.Node]] = {
    kind.__name__: kind
    for kind in (
        *(g.Convolution, g.Linear, g.Activation, g.GlobalPool, g.WindowPool, g.Add, g.Multiply, g.Concat),
        *(g.Flatten, g.Resize, g.FromPixels, g.Grey, g.ArgMax),
    )
}


def write_quantized(path: str | Path, net: QuantizedGraph, description: Description, interface: Interface) -> None:
    """Write `net` with what it says about itself, in one step.

    Raises:
        SaveError: the disk is full or the folder not writable.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for node in net.graph.nodes:
        tensors |= {f"{node.name}.{key}": getattr(node, key) for key in _ARRAYS if hasattr(node, key)}
    for name in net.scales:
        codes = net.integers(name)
        tensors |= {f"{name}.weight": codes.weight, f"{name}.weight_scale": codes.scale}
        if codes.bias is not None:
            tensors[f"{name}.bias"] = codes.bias
    metadata = {
        METADATA_KEY: description.to_json(),
        INTERFACE_KEY: interface.to_json(),
        QUANTIZED_KEY: json.dumps(_document(net)),
    }
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, metadata)
    with write_aside(path) as aside:
        aside.write_bytes(data)


def read_quantized(path: str | Path) -> tuple[QuantizedGraph, Description, Interface]:
    """The reverse of `write_quantized`; the weights of `graph` are those that the codes stand for.

    Raises:
        ModelFileError: not such a file, of a newer version, or damaged.
    """
    metadata = read_header(path).get("__metadata__", {})
    if QUANTIZED_KEY not in metadata:
        raise ModelFileError(f"{path}: holds no 8-bit network; make one with: hswish export MODEL --int8")
    description, interface = read_documents(metadata.get(METADATA_KEY), metadata.get(INTERFACE_KEY), str(path))
    try:
        document = json.loads(metadata[QUANTIZED_KEY])
        if document["version"] > VERSION:
            raise ModelFileError(
                f"{path}: written by a newer hswish (int8 version {document['version']}, this one reads up to "
                f"{VERSION}); upgrade with: pip install -U hswish"
            )
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return _network(document, tensors), description, interface
    except (*_DAMAGED, OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: its 8-bit network is damaged ({error!s:.80}); export it again") from error


def _document(net: QuantizedGraph) -> dict[str, Any]:
    """Everything but the tensors."""
    return {
        "version": VERSION,
        "weight_bits": net.weight_bits,
        "input_shape": net.graph.input_shape,
        "output": net.graph.output,
        "nodes": [_row(node) for node in net.graph.nodes],
        "values": {name: [held.scale, held.zero_point] for name, held in net.values.items()},
        "notes": dict(net.notes),
    }


def _row(node: g.Node) -> dict[str, Any]:
    plain = {field.name: getattr(node, field.name) for field in fields(node) if field.name not in _ARRAYS}
    return {"type": type(node).__name__, **plain}


def _network(document: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> QuantizedGraph:
    values = {name: _range(*held) for name, held in document["values"].items()}
    nodes = tuple(_node(row, tensors, values) for row in document["nodes"])
    known = {g.INPUT}
    for node in nodes:
        if not known.issuperset(node.inputs):
            raise ValueError(f"{node.name} reads a value that is not there")
        known.add(node.name)
    if document["output"] not in known or not known.issuperset(values):
        raise ValueError("it names a value that is not there")
    first, channels, height, width = (int(side) for side in document["input_shape"])
    graph = g.Graph(input_shape=(first, channels, height, width), nodes=nodes, output=document["output"])
    scales = {node.name: tensors[f"{node.name}.weight_scale"] for node in nodes if _has_scales(node, tensors)}
    return QuantizedGraph(
        graph=graph, values=values, scales=scales, weight_bits=int(document["weight_bits"]), notes=document["notes"]
    )


def _has_scales(node: g.Node, tensors: dict[str, NDArray[Any]]) -> bool:
    return f"{node.name}.weight_scale" in tensors


def _range(scale: float, zero_point: int) -> Range:
    if not 0 < scale < float("inf") or not 0 <= zero_point <= LEVELS:
        raise ValueError(f"a range of scale {scale} and zero point {zero_point}")
    return Range(scale=float(scale), zero_point=int(zero_point))


def _node(row: dict[str, Any], tensors: dict[str, NDArray[Any]], values: dict[str, Range]) -> g.Node:
    """One node with its tensors in float32."""
    kind = _KINDS[row["type"]]
    about = {key: _tupled(value) for key, value in row.items() if key != "type"}
    name = about["name"]
    arrays: dict[str, Any] = {
        field.name: tensors[f"{name}.{field.name}"] for field in fields(kind) if field.name in _ARRAYS
    }
    if f"{name}.weight_scale" in tensors:
        scale = tensors[f"{name}.weight_scale"]
        weight = arrays["weight"]
        if weight.dtype != np.int8 or scale.shape != weight.shape[:1] or not (scale > 0).all():
            raise ValueError(f"the weights of {name}")
        arrays["weight"] = weight.astype(np.float32) * scale.reshape(-1, *[1] * (weight.ndim - 1))
        if arrays["bias"].dtype == np.int32:
            product = (np.float64(values[about["inputs"][0]].scale) * scale).astype(np.float32)
            arrays["bias"] = (arrays["bias"] * product.astype(np.float64)).astype(np.float32)
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise ValueError(f"the type of the tensors of {name}")
    return kind(**about, **arrays)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
