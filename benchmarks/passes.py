"""What each pass of the 8-bit pipeline gives, in the simulator: what lacks without it, and what it costs in time.

    python -m benchmarks.passes --zoo CIFAR10 CAMVID      # the zoo's four models, each on its own data
    python -m benchmarks.passes MODEL DATA --alone        # MODEL and DATA as in `hswish eval`; each alone too
    python -m benchmarks.passes MODEL DATA --format litert --only "all,all but exact clipping" --json

Measured: see docs/quantization.md.

`divergence` is KL(float32 || 8 bits) of the probabilities, the mean over pictures or pixels; `agreement` is the part
of them with float32's label; both over `--pictures` pictures of the evaluation split. The score is that of the whole
split, or of `--limit` of its pictures. Passes that change no answer are measured as such: folding and padding by the
largest difference of a logit, as a part of the largest, and by the least milliseconds before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

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
from hswish.quantize.bias import correct_bias
from hswish.quantize.calibration import calibration
from hswish.quantize.finetune import Finetuning, finetune
from hswish.quantize.network import GraphNetwork
from hswish.quantize.pad import pad_channels
from hswish.quantize.pipeline import Passes, Prepared, prepare, quantize, round_all, with_scales
from hswish.quantize.places import Scheme, places, readers_of
from hswish.quantize.ranges import least_error, minmax, needed, tied, value_ranges
from hswish.quantize.sensitivity import LayerError, sensitivity
from hswish.quantize.simulate import SimulatedEngine, SimulatedNetwork, as_tensor, run
from hswish.runtime import open_engine
from hswish.spec import graph as g
from hswish.spec.errors import HswishError
from hswish.spec.quantized import QuantizedGraph

NAMES = tuple(field.name for field in fields(Passes))
NONE = Passes(**dict.fromkeys(NAMES, False))
KEPT = (1, 2, 4)
"""of the worst layers, left in float32"""
UNCLIPPED = "all but exact clipping"
TUNED = "fine-tuned"
ZOO = {
    "cifar10": ("mobilenet_v3_small.cifar10", "mobilenet_v3_large.cifar10"),
    "camvid": ("lraspp_mobilenet_v3_small.camvid", "lraspp_mobilenet_v3_large.camvid"),
}
_LOOKED_AT = 1
"""batches that the sensitivity table is made on"""
_RUNS = 150


@dataclass(frozen=True, kw_only=True)
class Row:
    """One choice of passes; the fields of `--json`."""

    passes: str
    score: float
    divergence: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class Exact:
    """A pass that changes no answer: by how much it does all the same, and milliseconds of one picture."""

    difference: float
    """largest of a logit, as a part of the largest logit"""
    before_ms: float
    after_ms: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of one model."""

    model: str
    format: str
    calibration: int
    """pictures"""
    rows: tuple[Row, ...]
    worst: tuple[LayerError, ...]
    """layers by the harm that rounding each alone does"""
    fold: Exact
    """in torch, float32, one thread"""
    pad: Exact | None
    """in the format's runtime, 8 bits, one thread; None where the format pads nothing"""
    seconds: float


def choices(alone: bool = True) -> Iterator[tuple[str, Passes]]:
    """None, each alone, all, all but each; channels can only be weighed where ranges are fitted."""
    every = Passes()
    yield "none", NONE
    for name in NAMES if alone else ():
        yield name, replace(NONE, **{name: True}, **({"fit_ranges": True} if name == "weigh_channels" else {}))
    yield "all", every
    for name in NAMES:
        yield f"all but {name}", replace(every, **{name: False})


def round_unclipped(prepared: Prepared, scheme: Scheme) -> QuantizedGraph:
    """As `round_all`, with ranges of all that the data held where an activation cannot tell its ends apart."""
    graph, passes = prepared.graph, prepared.passes
    found, readers = places(graph, scheme), readers_of(graph)
    choose = least_error if passes.fit_ranges else minmax
    values = value_ranges(graph, found.values, prepared.seen, choose)
    for name in found.values:
        if needed(readers[name]) != (-np.inf, np.inf) and (name == g.INPUT or not isinstance(graph[name], g.Flatten)):
            values[name] = choose(prepared.seen[name])
    net = with_scales(
        graph, tied(graph, values) if scheme.one_range else values, found.layers, scheme, fitted=passes.fit_weights
    )
    return correct_bias(net, graph, prepared.batches) if passes.correct_bias else net


class Comparison:
    """One network on one set of data, in one format's scheme."""

    def __init__(
        self,
        model: DescribedModule,
        source: DataSource,
        format: str,
        pictures: int,
        limit: int | None,
        calibrate: int | None = None,
    ):
        self.writer = writer(format)
        assert self.writer.scheme is not None
        self.model, self.scheme, self.source, self.limit = model.eval(), self.writer.scheme, source, limit
        self.job = make_job(model, ExportOptions())
        self.graph = pad_channels(self.job.graph, self.writer.channel_multiple)
        self.seen = calibration(source, self.job.description, calibrate)
        read = [source.read_picture(item) for item in evenly(source.items(self.seen.split), pictures)]
        preprocess = self.job.description.preprocess
        if preprocess.resize == "shorter":  # of one size, as the graph is
            preprocess = replace(preprocess, resize="stretch")
        self.description = replace(self.job.description, preprocess=preprocess)
        self.batches = [preprocess(picture)[None] for picture in read]
        self.right = self._answers(GraphNetwork(self.graph))
        self._prepared: dict[tuple[bool, ...], Prepared] = {}

    def row(self, name: str, passes: Passes) -> Row:
        """The network rounded with `passes`."""
        return self.judged(name, self.rounded(passes))

    def rounded(self, passes: Passes) -> SimulatedNetwork:
        """The network in 8 bits."""
        return SimulatedNetwork(round_all(self.prepared(passes), self.scheme))

    def unclipped(self) -> SimulatedNetwork:
        """With all passes but the exact clipping of what activations read."""
        return SimulatedNetwork(round_unclipped(self.prepared(Passes()), self.scheme))

    def prepared(self, passes: Passes) -> Prepared:
        """The network before it is rounded: most choices share it, and it takes longest."""
        key = (passes.repair, passes.equalise, passes.weigh_channels)
        if key not in self._prepared:
            self._prepared[key] = prepare(self.graph, self.seen.batches, passes)
        return replace(self._prepared[key], passes=passes)

    def judged(self, name: str, network: GraphNetwork) -> Row:
        """Score of a network, and how far it is from float32."""
        found = self._answers(network)
        right, other = _log_softmax(self.right), _log_softmax(found)
        engine = SimulatedEngine(network, self.description)
        return Row(
            passes=name,
            score=evaluate(engine, self.source, self.seen.split, limit=self.limit).headline[1],
            divergence=float((np.exp(right) * (right - other)).sum(1).mean()),
            agreement=float((found.argmax(1) == self.right.argmax(1)).mean()),
        )

    def worst(self) -> list[LayerError]:
        """Each layer rounded alone, those that it hurts most first."""
        prepared = self.prepared(Passes())
        return sensitivity(round_all(prepared, self.scheme), prepared.graph, self.seen.batches[:_LOOKED_AT])

    def kept(self, layers: Sequence[str]) -> SimulatedNetwork:
        """With all passes, and `layers` in float32."""
        scheme = replace(self.scheme, kept=self.scheme.kept | frozenset(layers))
        return SimulatedNetwork(round_all(self.prepared(Passes()), scheme))

    def tuned(self, steps: int) -> SimulatedNetwork:
        """With all passes, and fine-tuned on the calibration pictures."""
        prepared = self.prepared(Passes())
        with torch.inference_mode(False), torch.enable_grad():
            net = round_all(prepared, self.scheme)
            return SimulatedNetwork(finetune(net, prepared.graph, self.seen.batches, Finetuning(steps=steps)))

    def fold(self) -> Exact:
        """The network with its batch norms, and its graph without them, both in torch."""
        picture, folded = as_tensor(self.batches[0]), GraphNetwork(self.job.graph).eval()
        right = self.model(picture)
        before, after = in_turns(lambda: self.model(picture), lambda: folded(picture))
        off = float((folded(picture) - right).abs().max() / right.abs().max())
        return Exact(difference=off, before_ms=before, after_ms=after)

    def pad(self) -> Exact | None:
        """Two files in 8 bits, without padded channels and with them; of the float32 graphs the difference."""
        if self.writer.channel_multiple == 1 or self.writer.engine is None:
            return None
        plain = self._answers(GraphNetwork(self.job.graph))
        interface = replace(self.job.interface, precision="int8")
        with tempfile.TemporaryDirectory() as folder:
            engines = []
            for name, graph in (("plain", self.job.graph), ("padded", self.graph)):
                net = quantize(graph, self.seen.batches[:1], self.scheme, NONE)  # how well it fits costs no time
                path = Path(folder) / f"{name}{self.writer.suffix}"
                self.writer.write(replace(self.job, graph=net.graph, quantized=net, interface=interface), path)
                engines.append(open_engine(path, self.writer.engine, 1))
            before, after = in_turns(*((lambda engine=engine: engine.run(self.batches[0])) for engine in engines))
        off = float(np.abs(self.right - plain).max() / np.abs(plain).max())
        return Exact(difference=off, before_ms=before, after_ms=after)

    def _answers(self, network: GraphNetwork) -> NDArray[np.float32]:
        return np.concatenate(list(run(network, self.batches)))


def in_turns(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Least milliseconds of both on one thread, run by turns: what else the machine does only makes a run longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent: tuple[list[float], list[float]] = ([], [])
    for turn in range(_RUNS + 2):
        for call, times in zip((first, second), spent, strict=True):
            start = time.perf_counter()
            call()
            if turn >= 2:
                times.append(1000 * (time.perf_counter() - start))
    torch.set_num_threads(threads)
    return min(spent[0]), min(spent[1])


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def rows(
    comparison: Comparison,
    wanted: Sequence[str] | None,
    *,
    alone: bool = True,
    worst: Sequence[LayerError] = (),
    steps: int = 0,
) -> Iterator[Row]:
    """A row for each choice, or for those named.

    Args:
        alone: each pass alone too.
        worst: layers to leave in float32, the first first.
        steps: of fine-tuning; none by default.
    """
    made: dict[str, Callable[[], GraphNetwork]] = {
        "float32": lambda: GraphNetwork(comparison.graph),
        **{name: partial(comparison.rounded, passes) for name, passes in choices(alone)},
        UNCLIPPED: comparison.unclipped,
    }
    for count in KEPT if worst else ():
        made[f"{count} worst in float32"] = partial(comparison.kept, [row.layer for row in worst[:count]])
    if steps:
        made[TUNED] = partial(comparison.tuned, steps)
    for name, make in made.items():
        if wanted is None or name in wanted:
            yield comparison.judged(name, make())


def for_model(given: argparse.Namespace, place: int) -> argparse.Namespace:
    """What was asked for of the model at `place`: options may have one number for all models, or one for each."""
    own = argparse.Namespace(**vars(given))
    for option in ("pictures", "calibrate", "limit", "steps"):
        numbers = getattr(given, option)
        if numbers:
            setattr(own, option, numbers[0] if len(numbers) == 1 else numbers[place])
    return own


def report(name: str, data: str, given: argparse.Namespace) -> Report:
    """Measure one model, and say each row on the way."""
    start = time.perf_counter()
    model = load(locate(name))
    source = open_data(data, task=model.description.task)
    with torch.inference_mode():
        comparison = Comparison(model, source, given.format, given.pictures, given.limit, given.calibrate)
        wanted = given.only.split(",") if given.only else None
        fold, pad, worst = comparison.fold(), comparison.pad(), comparison.worst()
        for about in (fold, pad, *worst[:3]):
            print(f"{name}  {about}", file=sys.stderr, flush=True)
        found = []
        for row in rows(comparison, wanted, alone=given.alone, worst=worst, steps=given.steps):
            found.append(row)
            said = f"score {row.score:.4f}  divergence {row.divergence:.5f}  {row.agreement:.2%}"
            print(f"{name}  {row.passes:26} {said}", file=sys.stderr, flush=True)
    return Report(
        model=name,
        format=given.format,
        calibration=comparison.seen.count,
        rows=tuple(found),
        worst=tuple(worst),
        fold=fold,
        pad=pad,
        seconds=time.perf_counter() - start,
    )


def markdown(found: Sequence[Report]) -> str:
    """The tables of docs/quantization.md: a column for each model."""
    head = ["| | " + " | ".join(one.model for one in found) + " |", "|---|" + "--:|" * len(found)]
    lines = []
    for index, row in enumerate(found[0].rows):
        cells = [one.rows[index] for one in found]
        figures = (f"{cell.score:.4f}, {1000 * cell.divergence:.2f}" for cell in cells)
        lines.append(f"| {row.passes} | {' | '.join(figures)} |")
    exact = []
    for title, each in (("fold", [one.fold for one in found]), ("pad", [one.pad for one in found])):
        texts = ("-" if e is None else f"{e.before_ms:.2f}, {e.after_ms:.2f}, {e.difference:.0e}" for e in each)
        exact.append(f"| {title} | {' | '.join(texts)} |")
    worst = [
        f"| {place + 1} | {' | '.join(f'{one.worst[place].layer}, {one.worst[place].error:.1e}' for one in found)} |"
        for place in range(3)
    ]
    parts = (
        ("score, divergence in thousandths", lines),
        ("milliseconds before, after, difference", exact),
        ("worst layers, mean squared change of the logits as a part of their mean square", worst),
    )
    return "\n\n".join(f"{title}:\n\n" + "\n".join([*head, *body]) for title, body in parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog="--pictures, --calibrate, --limit and --steps take one number for all models, or one for each.",
    )
    parser.add_argument("model_and_data", nargs="*", metavar="MODEL DATA", help="one pair or several")
    parser.add_argument("--zoo", nargs=2, metavar=("CIFAR10", "CAMVID"), help="the zoo's models on these data")
    parser.add_argument("--format", default="onnx", help="whose scheme; onnx by default")
    parser.add_argument(
        "--pictures", type=int, nargs="+", default=[16], help="that divergence and agreement are measured on"
    )
    parser.add_argument(
        "--calibrate", type=int, nargs="+", help="calibration pictures; by default those of hswish export"
    )
    parser.add_argument("--limit", type=int, nargs="+", help="score only so many pictures")
    parser.add_argument("--steps", type=int, nargs="+", default=[0], help="fine-tune by so many steps too")
    parser.add_argument("--alone", action="store_true", help="each pass alone too")
    parser.add_argument("--only", help="rows, by commas")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    pairs = list(zip(given.model_and_data[::2], given.model_and_data[1::2], strict=False))
    if given.zoo:
        pairs += [(name, data) for names, data in zip(ZOO.values(), given.zoo, strict=True) for name in names]
    if not pairs or len(given.model_and_data) % 2:
        parser.error("give MODEL DATA, or --zoo CIFAR10 CAMVID")
    for option in ("pictures", "calibrate", "limit", "steps"):
        if len(getattr(given, option) or [0]) not in (1, len(pairs)):
            parser.error(f"--{option}: give one number, or one for each of the {len(pairs)} models")
    try:
        found = [report(name, data, for_model(given, place)) for place, (name, data) in enumerate(pairs)]
    except HswishError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    if given.json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        print(markdown(found))
        print(f"\n{sum(one.seconds for one in found):.0f} s; {[one.calibration for one in found]} calibration pictures")


if __name__ == "__main__":
    main()
