"""A network in torch as its own library makes it, timed in whatever environment holds the library.

Started by `benchmarks.engines` as a file, with hswish's source on the path, and with
LIBRARY NETWORK OPTIONS WEIGHTS MODE THREADS BATCH ANSWER.
Nothing of this project beyond `hswish.bench.worker` is needed there, and that needs numpy alone.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from hswish.bench.worker import serve


def build(library: str, network: str, options: dict[str, Any]) -> Any:
    """The untrained network."""
    package = importlib.import_module(library)
    if library == "torchvision":
        found = importlib.import_module("torchvision.models")
        return found.get_model(network, weights=None, **options)
    return package.create_model(network, **options)  # hswish and timm


def opened(library: str, network: str, options: str, weights: str, mode: str, threads: str) -> Callable[[Any], Any]:
    """What answers a batch (N, 3, H, W) float32."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(int(threads))
    model = build(library, network, json.loads(options))
    model.load_state_dict(load_file(weights))
    model.eval()
    form = torch.contiguous_format if mode == "eager" else torch.channels_last
    model = model.to(memory_format=form)
    model = torch.compile(model) if mode == "compiled" else model

    def run(batch: Any) -> Any:
        with torch.inference_mode():
            answer = model(torch.from_numpy(batch).to(memory_format=form))
        return (answer["out"] if isinstance(answer, dict) else answer).numpy()

    return run


if __name__ == "__main__":
    *about, batch_file, answer_file = sys.argv[1:]
    serve(lambda: opened(*about), f"{about[0]} {about[1]} {about[4]}", batch_file, answer_file)
