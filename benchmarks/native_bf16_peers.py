"""The runtimes of native_peers.py beside the engine in bfloat16.

OpenVINO and ncnn have a setting for it. ONNX Runtime, LiteRT and ExecuTorch have none on x86 (ONNX Runtime's is for
ARM's matrix products), so they run as they do in float32.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.native_peers import PEERS, Case, Peers, Run, exported, ncnn_run, openvino_run


def openvino(case: Case, folder: Path, threads: int) -> Run:
    return openvino_run(exported(case, folder, "onnx"), threads, "bf16")


def ncnn(case: Case, folder: Path, threads: int) -> Run:
    return ncnn_run(exported(case, folder, "ncnn"), threads, halves=True)


BF16_PEERS: Peers = {**PEERS, "openvino": ("openvino", openvino), "ncnn": ("ncnn", ncnn)}
"""as `native_peers.PEERS`"""
