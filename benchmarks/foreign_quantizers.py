"""The runtimes' own quantisers, each from a float32 file (or network) and a few pictures to a file in 8 bits.

onnxruntime.quantization  for ONNX Runtime
NNCF                      for OpenVINO
ai_edge_quantizer         for LiteRT
torchao (PT2E)            for ExecuTorch
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float32]


def by_onnxruntime(
    source: Path, pictures: Sequence[Floats], path: Path, *, per_channel: bool = True, method: str = "MinMax"
) -> None:
    """`quantize_static` of an .onnx file; pictures (1, C, H, W)."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[dict[str, Floats]] = iter([{"input": x} for x in pictures])

        def get_next(self) -> dict[str, Floats] | None:
            return next(self.left, None)

    logging.getLogger().setLevel(logging.ERROR)
    q.quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=q.QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        calibrate_method=q.CalibrationMethod[method],
    )


def by_nncf(source: Path, pictures: Sequence[Floats], path: Path, **settings: Any) -> None:
    """`nncf.quantize` of an .onnx file as OpenVINO reads it, to an .xml file; the mixed preset unless told."""
    import nncf
    import openvino as ov

    from hswish.runtime.openvino import the_core

    nncf.set_log_level(logging.ERROR)
    model = the_core().read_model(str(source))
    settings = {"preset": nncf.QuantizationPreset.MIXED, **settings}
    quantised = nncf.quantize(model, nncf.Dataset(list(pictures)), subset_size=len(pictures), **settings)
    ov.save_model(quantised, str(path), compress_to_fp16=False)


def by_ai_edge(source: Path, pictures: Sequence[Floats], path: Path) -> None:
    """Static, 8-bit weights and activations, of a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    signature = Interpreter(model_path=str(source)).get_signature_list()
    (key,) = signature
    (name,) = signature[key]["inputs"]
    last = takes_channels_last(source)
    given: list[dict[str, Any]] = [{name: x.transpose(0, 2, 3, 1) if last else x} for x in pictures]
    tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    tool.quantize(tool.calibrate({key: given})).export_model(str(path))


def by_torchao(model: nn.Module, pictures: Sequence[Floats], path: Path) -> None:
    """PT2E with XNNPACK's quantizer, weights per channel, to a .pte file."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    given = (torch.from_numpy(pictures[0]),)
    scheme = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(model.eval(), given).module(), scheme)
    with torch.no_grad():
        for x in pictures:
            prepared(torch.from_numpy(x))
    program = torch.export.export(convert_pt2e(prepared), given)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def takes_channels_last(path: Path) -> bool:
    """Whether a .tflite takes (1, H, W, C)."""
    from ai_edge_litert.interpreter import Interpreter

    shape = list(Interpreter(model_path=str(path)).get_input_details()[0]["shape"])
    return bool(shape[-1] == 3 and shape[1] != 3)
