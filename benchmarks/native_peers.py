"""The runtimes that the native engine is measured against: each an optional package, each with its best settings.

A peer takes the network of a case from a file in the folder that `--models` names. A file that is not there is
written by `hswish.export`, as a user would:

    onnxruntime, openvino   CASE.onnx
    ncnn                    CASE.param, .bin
    litert                  CASE.tflite
    executorch              CASE.pte

What they are given in 8 bits, benchmarks/native_int8_peers.py makes; native_bf16_peers.py has their bfloat16.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hswish.export.formats import writer
from hswish.export.pipeline import ExportOptions, make_job
from hswish.models import DescribedModule

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]
"""one picture (1, C, H, W) to its logits"""


class AbsentError(Exception):
    """A peer that cannot run here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network at one input size."""

    name: str
    model: DescribedModule
    height: int
    width: int

    def picture(self, seed: int = 0) -> Floats:
        """A normalised input (1, C, H, W)."""
        return np.random.default_rng(seed).normal(size=(1, 3, self.height, self.width)).astype(np.float32)


def onnxruntime(case: Case, folder: Path, threads: int) -> Run:
    return onnx_run(exported(case, folder, "onnx"), threads)


def onnx_run(path: Path, threads: int) -> Run:
    """An ONNX file in ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino(case: Case, folder: Path, threads: int) -> Run:
    return openvino_run(exported(case, folder, "onnx"), threads)


def openvino_run(model: Any, threads: int, precision: str = "f32") -> Run:
    """A file, or a model of OpenVINO's, in OpenVINO."""
    from hswish.runtime.openvino import the_core

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
    }
    request = the_core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda x: next(iter(request.infer([x]).values()))


def ncnn(case: Case, folder: Path, threads: int) -> Run:
    return ncnn_run(exported(case, folder, "ncnn"), threads)


def ncnn_run(param: Path, threads: int, halves: bool = False) -> Run:
    """A file in ncnn; `halves`: in bfloat16."""
    import ncnn as runtime

    net = runtime.Net()
    net.opt.num_threads, net.opt.lightmode = threads, True
    # In the precision that the engine computes in.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = halves
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))

    def run(x: Floats) -> Floats:
        extractor = net.create_extractor()
        extractor.input("input", runtime.Mat(x[0]))
        _, out = extractor.extract("output")
        return np.array(out)[None]

    return run


def litert(case: Case, folder: Path, threads: int) -> Run:
    return litert_run(exported(case, folder, "litert"), threads)


def litert_run(path: Path, threads: int, repeated: bool = True) -> Run:
    """A .tflite file in LiteRT; `repeated`: the same arrays come again and again."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    last = list(source["shape"])[-1] == 3 != list(source["shape"])[1]  # channels last

    given: dict[int, Any] = {}  # a file in 8 bits takes bytes: made once a picture, outside the timed calls

    def run(x: Floats) -> Floats:
        if not repeated:
            given.clear()
        if id(x) not in given:
            laid = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x
            given.update({id(x): _codes(laid, source)})
        interpreter.set_tensor(source["index"], given[id(x)])
        interpreter.invoke()
        out = _floats(interpreter.get_tensor(answer["index"]), answer)
        return out.transpose(0, 3, 1, 2) if last and out.ndim == 4 else out

    return run


def _codes(x: Floats, about: Any) -> Any:
    if about["dtype"] == np.float32:
        return x
    (scale, zero), limits = about["quantization"], np.iinfo(about["dtype"])
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(about["dtype"])


def _floats(x: Any, about: Any) -> Floats:
    if about["dtype"] == np.float32:
        return np.asarray(x)
    scale, zero = about["quantization"]
    return ((x.astype(np.float32) - zero) * scale).astype(np.float32)


def executorch(case: Case, folder: Path, threads: int) -> Run:
    path = exported(case, folder, "executorch")
    from executorch.runtime import Runtime

    # Its thread pool has as many threads as the process has processors when it starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    method = Runtime.get().load_program(path).load_method("forward")
    if method is None:
        raise AbsentError(f"{path} has no method forward")
    return lambda x: method.execute((torch.from_numpy(x),))[0].numpy()


Peers = dict[str, tuple[str, Callable[[Case, Path, int], Run]]]
PEERS: Peers = {
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "ncnn": ("ncnn", ncnn),
    "litert": ("ai_edge_litert", litert),
    "executorch": ("executorch", executorch),
}
"""name: the package it needs, and what opens it"""


def open_peer(name: str, case: Case, folder: Path, threads: int, peers: Peers | None = None) -> Run:
    """The peer called `name`, ready to run `case`.

    Raises:
        AbsentError: its package, or its file and what makes it, are not here.
    """
    package, make = (PEERS if peers is None else peers)[name]
    needs(package)
    return make(case, folder, threads)


def exported(case: Case, folder: Path, format: str) -> Path:
    """The float32 file of a case, written if it is not there."""
    made = writer(format)
    path = folder / f"{case.name}{made.suffix}"
    if not path.exists():
        with torch.inference_mode():
            made.write(make_job(case.model, ExportOptions(size=(case.height, case.width))), path)
    return path


def needs(*packages: str) -> None:
    """Raises `AbsentError` where one is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise AbsentError(f"the package {package} is not installed")
