"""The runtimes of native_peers.py in 8 bits, each quantised by its own tool from the float32 file of a case.

    onnxruntime   onnxruntime.quantization  static, weights per channel, ranges by their extremes
    openvino      nncf                      NNCF's mixed preset, its default
    litert        ai_edge_quantizer         static, 8-bit weights and activations

All see the same pictures to set their ranges by, and so does the engine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.native_peers import Case, Floats, Peers, Run, exported, litert_run, needs, onnx_run, openvino_run

CALIBRATION = 4
"""pictures to set the ranges by"""


def pictures(case: Case) -> list[Floats]:
    """What every tool sees: normalised inputs (1, C, H, W)."""
    return [case.picture(seed) for seed in range(CALIBRATION)]


def onnxruntime(case: Case, folder: Path, threads: int) -> Run:
    needs("onnx")
    from onnxruntime import quantization as q

    path = folder / f"{case.name}.int8.onnx"
    if not path.exists():
        source = exported(case, folder, "onnx")

        class Reader(q.CalibrationDataReader):
            def __init__(self) -> None:
                self.left: Iterator[dict[str, Floats]] = iter([{"input": x} for x in pictures(case)])

            def get_next(self) -> dict[str, Floats] | None:
                return next(self.left, None)

        logging.getLogger().setLevel(logging.ERROR)
        q.quantize_static(
            str(source),
            str(path),
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
        )
    return onnx_run(path, threads)


def openvino(case: Case, folder: Path, threads: int) -> Run:
    needs("nncf")
    import nncf
    import openvino as ov

    path = folder / f"{case.name}.int8.xml"
    if not path.exists():
        nncf.set_log_level(logging.ERROR)
        model = ov.Core().read_model(str(exported(case, folder, "onnx")))
        quantised = nncf.quantize(
            model, nncf.Dataset(pictures(case)), preset=nncf.QuantizationPreset.MIXED, subset_size=CALIBRATION
        )
        ov.save_model(quantised, str(path), compress_to_fp16=False)
    return openvino_run(str(path), threads)


def litert(case: Case, folder: Path, threads: int) -> Run:
    needs("ai_edge_quantizer")
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    path = folder / f"{case.name}.int8.tflite"
    if not path.exists():
        source = str(exported(case, folder, "litert"))
        signature = Interpreter(model_path=source).get_signature_list()
        (key,) = signature
        (name,) = signature[key]["inputs"]
        last = exported_last(source)
        given: list[dict[str, Any]] = [{name: x.transpose(0, 2, 3, 1) if last else x} for x in pictures(case)]
        tool = quantizer.Quantizer(source, recipe.static_wi8_ai8())
        ranges = tool.calibrate({key: given})
        tool.quantize(ranges).export_model(str(path))
    return litert_run(path, threads)


def exported_last(path: str) -> bool:
    """Whether a .tflite takes its channels last."""
    from ai_edge_litert.interpreter import Interpreter

    shape = list(Interpreter(model_path=path).get_input_details()[0]["shape"])
    return bool(shape[-1] == 3 and shape[1] != 3)


INT8_PEERS: Peers = {
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "litert": ("ai_edge_litert", litert),
}
"""as `native_peers.PEERS`"""


def likeness(answer: Floats, wanted: Floats) -> float:
    """How far two answers agree: the correlation of their numbers."""
    return float(np.corrcoef(np.asarray(answer).ravel(), wanted.ravel())[0, 1])
