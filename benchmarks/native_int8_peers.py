"""The runtimes of native_peers.py in 8 bits, each quantised by its own tool from the float32 file of a case.

All see the same pictures to set their ranges by, and so does the engine (benchmarks/foreign_quantizers.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.foreign_quantizers import by_ai_edge, by_nncf, by_onnxruntime
from benchmarks.native_peers import Case, Floats, Peers, Run, exported, litert_run, needs, onnx_run, openvino_run

CALIBRATION = 4
"""pictures to set the ranges by"""


def pictures(case: Case) -> list[Floats]:
    """What every tool sees: normalised inputs (1, C, H, W)."""
    return [case.picture(seed) for seed in range(CALIBRATION)]


def onnxruntime(case: Case, folder: Path, threads: int) -> Run:
    needs("onnx")
    path = folder / f"{case.name}.int8.onnx"
    if not path.exists():
        by_onnxruntime(exported(case, folder, "onnx"), pictures(case), path)
    return onnx_run(path, threads)


def openvino(case: Case, folder: Path, threads: int) -> Run:
    needs("nncf")
    path = folder / f"{case.name}.int8.xml"
    if not path.exists():
        by_nncf(exported(case, folder, "onnx"), pictures(case), path)
    return openvino_run(str(path), threads)


def litert(case: Case, folder: Path, threads: int) -> Run:
    needs("ai_edge_quantizer")
    path = folder / f"{case.name}.int8.tflite"
    if not path.exists():
        by_ai_edge(exported(case, folder, "litert"), pictures(case), path)
    return litert_run(path, threads)


INT8_PEERS: Peers = {
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "litert": ("ai_edge_litert", litert),
}
"""as `native_peers.PEERS`"""


def likeness(answer: Floats, wanted: Floats) -> float:
    """How far two answers agree: the correlation of their numbers."""
    return float(np.corrcoef(np.asarray(answer).ravel(), wanted.ravel())[0, 1])
