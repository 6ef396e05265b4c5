"""8 bits beside float32 in each runtime: one picture, both files of a format in turn, on the same threads.

    python -m benchmarks.int8                       # Large and Small 224, LR-ASPP Small 360x480; some minutes
    python -m benchmarks.int8 --formats onnx --threads 2 --json

Measured: see docs/quantization.md.

The weights are random (speed does not ask for them), calibrated on smooth random pictures, and written by
the same writers as `hswish export --int8`. `times faster` is the float32 median over that of 8 bits.

`--bound` adds a third file: the network in 8 bits with a ReLU, which costs nothing after a convolution, in the place of
each h-swish, and without squeeze-and-excitation. It answers nonsense, as quickly as the runtime's integer
convolutions and its float32 upsampling allow: no way of writing h-swish can make 8 bits quicker than that. (Leaving
convolutions in float32 can, where integer kernels are slow; gated maps are, `hswish.quantize.places.gated`.)
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hswish.export.formats import writer as writer_of
from hswish.export.int8_report import times_ms
from hswish.export.job import Job, Writer
from hswish.export.pipeline import ExportOptions, make_job
from hswish.models import create_model
from hswish.models.described import DescribedModule
from hswish.quantize.pad import pad_channels
from hswish.quantize.pipeline import Passes, prepare, round_all
from hswish.quantize.places import squeezes
from hswish.runtime import open_engine
from hswish.spec import graph as g
from hswish.spec.preprocess import Preprocess

NETWORKS: dict[str, tuple[int, int]] = {
    "mobilenet_v3_large": (224, 224),
    "mobilenet_v3_small": (224, 224),
    "lraspp_mobilenet_v3_small": (360, 480),
}
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert", "executorch": "executorch"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network in one runtime; the fields of `--json`."""

    network: str
    size: str
    format: str
    threads: int
    float_ms: float
    int8_ms: float
    times_faster: float
    bound_ms: float | None
    bound: float | None
    """times faster than float32, were h-swish and squeeze-and-excitation free"""


def network(name: str, size: tuple[int, int]) -> DescribedModule:
    """A network with random weights whose batch norms have seen something."""
    torch.manual_seed(0)
    model = create_model(name)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.5)
            module.momentum = None
    with torch.inference_mode():
        model.train()(torch.rand(4, 3, *size) * 4 - 2)
    assert isinstance(model, DescribedModule)
    model.describe(preprocess=Preprocess(height=size[0], width=size[1], resize="stretch"))
    return model.eval()


def pictures(model: DescribedModule, count: int = 4) -> np.ndarray:
    """(count, 3, H, W): smooth random pictures, preprocessed."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (7, 9, 3)).astype(np.uint8)) for _ in range(count)]
    return np.stack([model.preprocess(picture.resize((300, 260))) for picture in coarse])


def bare(graph: g.Graph) -> g.Graph:
    """`graph` with ReLU for h-swish, and without the branches that gate a map."""
    branches = squeezes(graph)
    same: dict[str, str] = {}
    nodes: list[g.Node] = []
    for node in graph.nodes:
        inputs = tuple(same.get(name, name) for name in node.inputs)
        if isinstance(node, g.Multiply) and not branches.isdisjoint(node.inputs):
            (same[node.name],) = (name for name in inputs if name not in branches)
        elif node.name not in branches:
            nodes.append(replace(node, inputs=inputs))
            if isinstance(node, g.Activation) and node.kind == "hard_swish":
                nodes[-1] = replace(node, inputs=inputs, kind="relu")
    return replace(graph, nodes=tuple(nodes), output=same.get(graph.output, graph.output))


def in_8_bits(job: Job, graph: g.Graph, writer: Writer, batch: NDArray[np.float32]) -> Job:
    """`graph` calibrated on `batch` (N, C, H, W)."""
    assert writer.scheme is not None
    seen = prepare(pad_channels(graph, writer.channel_multiple), [batch], Passes(correct_bias=False))
    net = round_all(seen, writer.scheme)
    return replace(job, graph=net.graph, quantized=net, interface=replace(job.interface, precision="int8"))


def rows(name: str, formats: list[str], threads: int, bound: bool) -> Iterator[Row]:
    """One network in every format."""
    size = NETWORKS[name]
    model = network(name, size)
    batch = pictures(model)
    job = make_job(model, ExportOptions())
    for format in formats:
        writer = writer_of(format)
        jobs = {"float32": job, "int8": in_8_bits(job, job.graph, writer, batch)}
        if bound:
            jobs["bound"] = in_8_bits(job, bare(job.graph), writer, batch)
        with tempfile.TemporaryDirectory() as folder:
            engines = []
            for stem, made in jobs.items():
                path = Path(folder) / f"{stem}{writer.suffix}"
                writer.write(made, path)
                engines.append(open_engine(path, writer.engine, threads))
            spent = dict(zip(jobs, times_ms(engines, [batch[:1]] * len(engines)), strict=True))
        least = spent.get("bound")
        yield Row(
            network=name,
            size=f"{size[0]}x{size[1]}",
            format=format,
            threads=threads,
            float_ms=round(spent["float32"], 3),
            int8_ms=round(spent["int8"], 3),
            times_faster=round(spent["float32"] / spent["int8"], 3),
            bound_ms=None if least is None else round(least, 3),
            bound=None if least is None else round(spent["float32"] / least, 3),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--formats", default=",".join(PACKAGES), help="by commas")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bound", action="store_true", help="what were if h-swish cost nothing")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = []
    for name in given.networks.split(","):
        for row in rows(name, given.formats.split(","), given.threads, given.bound):
            found.append(row)
            if not given.json:
                least = "" if row.bound is None else f", bound {row.bound_ms:.2f} ms, {row.bound:.2f}"
                print(
                    f"{row.network:26} {row.size:8} {row.format:10} {row.threads} thread(s)  "
                    f"float32 {row.float_ms:7.2f} ms  int8 {row.int8_ms:7.2f} ms  {row.times_faster:.2f} times faster"
                    f"{least}",
                    flush=True,
                )
    if given.json:
        versions = {package: version(package) for package in PACKAGES.values()}
        machine = {"cpu": platform.processor() or platform.machine(), "system": platform.platform()}
        print(json.dumps({"machine": machine, "versions": versions, "rows": [asdict(row) for row in found]}))


if __name__ == "__main__":
    main()
