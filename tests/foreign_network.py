"""ONNX files as another library writes them, which say nothing about themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def write_network(
    path: Path, weight: NDArray[np.float32], *, masks: bool = False, batch: int | str = "n", apart: bool = False
) -> Path:
    """Logits (N, K) = mean over the pixels of `weight` (K, C) times a picture's channels, or one for each pixel."""
    classes, channels = weight.shape
    pixels = helper.make_node("Conv", ["pictures", "weight"], ["logits" if masks else "pixels"])
    mean = helper.make_node("GlobalAveragePool", ["pixels"], ["mean"])
    logits = helper.make_node("Flatten", ["mean"], ["logits"])
    nodes = [pixels] if masks else [pixels, mean, logits]
    kernel = numpy_helper.from_array(weight.reshape(classes, channels, 1, 1).astype(np.float32), "weight")
    taken = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [batch, channels, "h", "w"])
    shape = [batch, classes, "h", "w"] if masks else [batch, classes]
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "foreign", [taken], [given], [kernel])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    if apart:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    else:
        onnx.save(model, path)
    return path
