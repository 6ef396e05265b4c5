"""Our 8 bits beside what each runtime's own quantiser makes of the same network: accuracy and speed.

    python -m benchmarks.quantizers MODEL DATA            # some minutes; MODEL and DATA as in `hswish eval`
    python -m benchmarks.quantizers MODEL DATA --formats onnx,litert --limit 500 --json

Measured: see docs/quantization.md.

All are calibrated on the same pictures of the training split and judged on the evaluation split, in the runtime.
`points lost` is float32's score less theirs, both in that runtime, times 100; the times are medians of runs in turn.
A tool that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import foreign_quantizers as foreign
from benchmarks.native_peers import AbsentError, Run, litert_run, needs, onnx_run, openvino_run
from hswish.data import open_data
from hswish.data.source import DataSource
from hswish.evaluate import evaluate
from hswish.export.formats import writer
from hswish.export.int8 import Int8Settings, export_int8
from hswish.export.int8_report import times_ms
from hswish.export.pipeline import ExportOptions, make_job
from hswish.hub import locate
from hswish.models import load
from hswish.models.described import DescribedModule
from hswish.quantize.calibration import calibration
from hswish.runtime import Engine, open_engine
from hswish.spec.artifact import Description
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import Interface

Floats = NDArray[np.float32]
Tool = Callable[[Path, DescribedModule, Sequence[Floats], Path], None]
"""float32 file, network, calibration pictures (1, C, H, W), file to write"""


def _tools() -> dict[str, list[tuple[str, str, Tool]]]:
    """For each format: what a tool is called, the package it needs, and how it is used."""

    def onnxruntime(**settings: Any) -> Tool:
        return lambda source, _, pictures, path: foreign.by_onnxruntime(source, pictures, path, **settings)

    def nncf(**settings: Any) -> Tool:
        return lambda source, _, pictures, path: foreign.by_nncf(source, pictures, path, **settings)

    return {
        "onnx": [
            ("quantize_static, per tensor", "onnx", onnxruntime(per_channel=False)),
            ("quantize_static, per channel", "onnx", onnxruntime()),
            ("quantize_static, entropy", "onnx", onnxruntime(method="Entropy")),
        ],
        "openvino": [
            ("NNCF, mixed preset", "nncf", nncf()),
            ("NNCF, mixed, full bias correction", "nncf", nncf(fast_bias_correction=False)),
        ],
        "litert": [("ai_edge_quantizer", "ai_edge_quantizer", lambda s, _, p, path: foreign.by_ai_edge(s, p, path))],
        "executorch": [("torchao PT2E", "torchao", lambda _, model, p, path: foreign.by_torchao(model, p, path))],
    }


PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert", "executorch": "executorch"}
ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite", "executorch": ".pte"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantiser; the fields of `--json`."""

    format: str
    quantiser: str
    score: float
    float_score: float
    points_lost: float
    ms: float
    float_ms: float
    times_faster: float


class Peer:
    """A file that knows nothing of hswish, as an engine, so that `hswish.evaluate` measures it."""

    suffixes: tuple[str, ...] = ()

    def __init__(self, run: Run, description: Description) -> None:
        self.one, self.description = run, description
        self.interface = Interface(size=(description.preprocess.height, description.preprocess.width))

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> Peer:
        """There is no such file: it is made of a function."""
        raise ModelFileError(f"{path}: made by no writer of hswish")

    def run(self, batch: Floats) -> Floats:
        """Logits of a normalised batch, picture by picture."""
        return np.concatenate([self.one(batch[at : at + 1]).copy() for at in range(len(batch))])


def opened(format: str, path: Path, threads: int) -> Run:
    """A file in its runtime."""
    if format == "onnx":
        return onnx_run(path, threads)
    if format == "openvino":
        return openvino_run(str(path), threads)
    if format == "litert":
        return litert_run(path, threads, repeated=False)
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    assert method is not None
    return lambda x: method.execute((torch.from_numpy(x),))[0].numpy()


class Comparison:
    """One network on one set of data."""

    def __init__(self, model: DescribedModule, source: DataSource, limit: int | None, threads: int) -> None:
        self.model, self.source, self.limit, self.threads = model, source, limit, threads
        self.job = make_job(model, ExportOptions())
        seen = calibration(source, self.job.description)
        self.split = seen.split
        self.pictures = [batch[at : at + 1] for batch in seen.batches for at in range(len(batch))]

    def rows(self, format: str, folder: Path) -> list[Row]:
        """Ours, then each tool of the format."""
        plain = folder / f"float32{ENDINGS[format]}"
        writer(format).write(self.job, plain)
        theirs = open_engine(plain, writer(format).engine, self.threads)
        score = self.score(theirs)
        settings = Int8Settings(source=self.source, allow_drop=True, limit=self.limit)
        (report,) = export_int8(self.model, [format], folder / "ours", settings, threads=self.threads)
        ours = open_engine(folder / report.file, writer(format).engine, self.threads)
        found = [self.row(format, "hswish", report.score, score, ours, theirs)]
        for number, (name, package, tool) in enumerate(_tools()[format]):
            path = folder / f"peer{number}{ENDINGS[format]}"
            try:
                needs(package)
                tool(plain, self.model, self.pictures, path)
            except AbsentError as error:
                print(f"{format}: without {name}: {error}", file=sys.stderr)
                continue
            peer = Peer(opened(format, path, self.threads), self.job.description)
            found.append(self.row(format, name, self.score(peer), score, peer, theirs))
        return found

    def score(self, engine: Engine) -> float:
        return evaluate(engine, self.source, self.split, limit=self.limit).headline[1]

    def row(self, format: str, name: str, score: float, float_score: float, engine: Engine, plain: Engine) -> Row:
        ms, float_ms = times_ms([engine, plain], [self.pictures[0]] * 2)
        return Row(
            format=format,
            quantiser=name,
            score=score,
            float_score=float_score,
            points_lost=100 * (float_score - score),
            ms=round(ms, 3),
            float_ms=round(float_ms, 3),
            times_faster=round(float_ms / ms, 3),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--formats", default=",".join(PACKAGES), help="by commas")
    parser.add_argument("--limit", type=int, help="evaluate only so many pictures")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load(locate(given.model))
    comparison = Comparison(model, open_data(given.data, task=model.description.task), given.limit, given.threads)
    rows = []
    for format in given.formats.split(","):
        with tempfile.TemporaryDirectory() as folder:
            for row in comparison.rows(format, Path(folder)):
                rows.append(row)
                if not given.json:
                    print(
                        f"{row.format:10} {row.quantiser:34} {row.score:.4f} of {row.float_score:.4f}  "
                        f"{row.points_lost:5.2f} points lost  {row.times_faster:.2f} times faster",
                        flush=True,
                    )
    if given.json:
        versions = {package: version(package) for package in PACKAGES.values()}
        print(json.dumps({"versions": versions, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
