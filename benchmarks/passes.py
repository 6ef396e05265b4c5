"""What each pass of the 8-bit pipeline gives, in the simulator: alone over none, and what lacks without it.

    python -m benchmarks.passes MODEL DATA                # MODEL and DATA as in `hswish eval`
    python -m benchmarks.passes MODEL DATA --format litert --limit 200 --json

Measured: see docs/quantization.md.

`divergence` is KL(float32 || 8 bits) of the probabilities, the mean over pictures or pixels; `agreement` is the part
of them with float32's label; both over `--pictures` pictures of the evaluation split. The score is that of the whole
split, or of its first `--limit` pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hswish.data import open_data
from hswish.data.source import DataSource, evenly
from hswish.evaluate import evaluate
from hswish.export.formats import writer
from hswish.export.pipeline import ExportOptions, make_job
from hswish.hub import locate
from hswish.models import load
from hswish.models.described import DescribedModule
from hswish.quantize.calibration import calibration
from hswish.quantize.network import GraphNetwork
from hswish.quantize.pad import pad_channels
from hswish.quantize.pipeline import Passes, prepare, round_all
from hswish.quantize.simulate import SimulatedEngine, SimulatedNetwork, run

NAMES = tuple(field.name for field in fields(Passes))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One choice of passes; the fields of `--json`."""

    passes: str
    score: float
    divergence: float
    agreement: float


def choices() -> Iterator[tuple[str, Passes]]:
    """None, each alone, all, all but each; channels can only be weighed where ranges are fitted."""
    none, every = Passes(**dict.fromkeys(NAMES, False)), Passes()
    yield "none", none
    for name in NAMES:
        yield name, replace(none, **{name: True}, **({"fit_ranges": True} if name == "weigh_channels" else {}))
    yield "all", every
    for name in NAMES:
        yield f"all but {name}", replace(every, **{name: False})


class Comparison:
    """One network on one set of data, in one format's scheme."""

    def __init__(self, model: DescribedModule, source: DataSource, format: str, pictures: int, limit: int | None):
        made = writer(format)
        assert made.scheme is not None
        self.scheme, self.source, self.limit = made.scheme, source, limit
        self.job = make_job(model, ExportOptions())
        self.graph = pad_channels(self.job.graph, made.channel_multiple)
        self.seen = calibration(source, self.job.description)
        read = [source.read_picture(item) for item in evenly(source.items(self.seen.split), pictures)]
        self.batches = [self.job.description.preprocess(picture)[None] for picture in read]
        self.right = self._answers(GraphNetwork(self.graph))

    def row(self, name: str, passes: Passes) -> Row:
        """The network rounded with `passes`."""
        network = SimulatedNetwork(round_all(prepare(self.graph, self.seen.batches, passes), self.scheme))
        found = self._answers(network)
        right, other = _log_softmax(self.right), _log_softmax(found)
        engine = SimulatedEngine(network, self.job.description)
        return Row(
            passes=name,
            score=evaluate(engine, self.source, self.seen.split, limit=self.limit).headline[1],
            divergence=float((np.exp(right) * (right - other)).sum(1).mean()),
            agreement=float((found.argmax(1) == self.right.argmax(1)).mean()),
        )

    def _answers(self, network: GraphNetwork) -> NDArray[np.float32]:
        return np.concatenate(list(run(network, self.batches)))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def rows(comparison: Comparison, wanted: Sequence[str] | None) -> Iterator[Row]:
    """A row for each choice, or for those named."""
    for name, passes in choices():
        if wanted is None or name in wanted:
            yield comparison.row(name, passes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--format", default="onnx", help="whose scheme; onnx by default")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--limit", type=int, help="score only so many pictures")
    parser.add_argument("--only", help="rows, by commas")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = load(locate(given.model))
    source = open_data(given.data, task=model.description.task)
    with torch.inference_mode():
        comparison = Comparison(model, source, given.format, given.pictures, given.limit)
        found = []
        for row in rows(comparison, given.only.split(",") if given.only else None):
            found.append(row)
            if not given.json:
                print(
                    f"{row.passes:24} score {row.score:.4f}  divergence {row.divergence:.5f}  {row.agreement:.2%}",
                    flush=True,
                )
    if given.json:
        print(json.dumps([asdict(row) for row in found]))


if __name__ == "__main__":
    main()
