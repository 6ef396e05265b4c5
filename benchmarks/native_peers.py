"""The runtimes that the native engine is measured against: each an optional package, each with its best settings.

A peer takes the float32 network of a case from a file in the folder that `--models` names. A file that is not there
is made, if the converter is installed:

    onnxruntime, openvino   CASE.onnx              torch.onnx (packages onnx, onnxscript)
    ncnn                    CASE.ncnn.param, .bin  pnnx
    litert                  CASE.tflite            litert_torch, which brings its own torch: make it elsewhere
    executorch              CASE.pte               executorch, the same
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]
"""one picture (1, C, H, W) to its logits"""


class AbsentError(Exception):
    """A peer that cannot run here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network at one input size."""

    name: str
    model: nn.Module
    height: int
    width: int

    def example(self) -> torch.Tensor:
        """Any input of its shape."""
        return torch.zeros(1, 3, self.height, self.width)


def onnxruntime(case: Case, folder: Path, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(_onnx(case, folder)), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino(case: Case, folder: Path, threads: int) -> Run:
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
    }
    request = ov.Core().compile_model(str(_onnx(case, folder)), "CPU", settings).create_infer_request()
    return lambda x: next(iter(request.infer([x]).values()))


def ncnn(case: Case, folder: Path, threads: int) -> Run:
    import ncnn as runtime

    stem = case.name.replace("-", "_")  # as pnnx has it
    param = folder / f"{stem}.ncnn.param"
    if not param.exists():
        _needs("pnnx")
        import pnnx

        # It talks on the standard output, which is for our rows.
        with contextlib.redirect_stdout(sys.stderr):
            pnnx.export(case.model, str((folder / f"{stem}.pt").resolve()), (case.example(),), fp16=False)
    net = runtime.Net()
    net.opt.num_threads, net.opt.lightmode = threads, True
    # Peers compute in float32 here, as the engine does.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))

    def run(x: Floats) -> Floats:
        extractor = net.create_extractor()
        extractor.input("in0", runtime.Mat(x[0]))
        _, out = extractor.extract("out0")
        return np.array(out)[None]

    return run


def litert(case: Case, folder: Path, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    path = folder / f"{case.name}.tflite"
    if not path.exists():
        _needs("litert_torch")
        import litert_torch

        litert_torch.convert(case.model, (case.example(),)).export(str(path))
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    last = list(source["shape"])[-1] == 3 != list(source["shape"])[1]  # some converters put the channels last

    def run(x: Floats) -> Floats:
        interpreter.set_tensor(source["index"], np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x)
        interpreter.invoke()
        out: Floats = interpreter.get_tensor(answer["index"])
        return out.transpose(0, 3, 1, 2) if last and out.ndim == 4 else out

    return run


def executorch(case: Case, folder: Path, threads: int) -> Run:
    path = folder / f"{case.name}.pte"
    if not path.exists():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(case.model, (case.example(),))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)
    from executorch.runtime import Runtime

    # Its thread pool has as many threads as the process has processors when it starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    method = Runtime.get().load_program(path).load_method("forward")
    if method is None:
        raise AbsentError(f"{path} has no method forward")
    return lambda x: method.execute((torch.from_numpy(x),))[0].numpy()


PEERS: dict[str, tuple[str, Callable[[Case, Path, int], Run]]] = {
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "ncnn": ("ncnn", ncnn),
    "litert": ("ai_edge_litert", litert),
    "executorch": ("executorch", executorch),
}
"""name: the package it needs, and what opens it"""


def open_peer(name: str, case: Case, folder: Path, threads: int) -> Run:
    """The peer called `name`, ready to run `case`.

    Raises:
        AbsentError: its package, or its file and what makes it, are not here.
    """
    package, make = PEERS[name]
    _needs(package)
    return make(case, folder, threads)


def _onnx(case: Case, folder: Path) -> Path:
    path = folder / f"{case.name}.onnx"
    if not path.exists():
        _needs("onnx", "onnxscript")
        torch.onnx.export(case.model, (case.example(),), str(path), dynamo=True, external_data=False, verbose=False)
    return path


def _needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise AbsentError(f"the package {package} is not installed")
