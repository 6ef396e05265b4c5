"""Exporting in 8 bits: quantise, write, and measure in the file's own runtime beside float32.

    calibrate -> passes -> float32 for the worst layers, until the simulator loses little
      -> write -> accuracy and speed in the runtime; more layers in float32 where that loses more -> put in place

A file that loses more than half a point of top-1 or mIoU is not kept, unless asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hswish.data.source import DataSource
from hswish.evaluate import evaluate
from hswish.export.formats import writers
from hswish.export.int8_report import ALLOWED, Int8Report, times_ms
from hswish.export.job import Job, Writer
from hswish.export.parity import size_of
from hswish.export.pipeline import ExportOptions, each_of, just_written, make_job, put_in_place
from hswish.export.trace import embed
from hswish.models.described import DescribedModule
from hswish.quantize.calibration import Calibration, calibration
from hswish.quantize.fallback import FallBack, Step
from hswish.quantize.finetune import Finetuning, finetune
from hswish.quantize.network import GraphNetwork
from hswish.quantize.pad import pad_channels
from hswish.quantize.pipeline import Prepared, prepare, round_all
from hswish.quantize.places import Scheme, Squeeze
from hswish.quantize.sensitivity import LayerError, sensitivity
from hswish.quantize.simulate import SimulatedEngine, SimulatedNetwork
from hswish.runtime import Engine, interface_of, open_engine
from hswish.runtime.exported import ExportedEngine, Operator
from hswish.runtime.native import NativeEngine, has_vnni
from hswish.spec.artifact import Description
from hswish.spec.errors import OptionError, ParityError, SaveError
from hswish.spec.files import explain_os_error
from hswish.spec.graph import INPUT, Convolution, FromPixels, Grey, Linear
from hswish.spec.quantized import QuantizedGraph

INNER = ".int8"
"""Before the ending of a file in 8 bits, so that it may lie beside the one in float32."""
_MARGIN = 0.8
"""Part of the allowed loss that the simulator may foretell: the runtime rounds here and there once more."""
_LOOKED_AT = 4
"""Batches that tell which layers rounding hurts."""


@dataclass(frozen=True, kw_only=True)
class Int8Settings:
    """How 8 bits are made, and what they may cost."""

    source: DataSource = field(repr=False)
    """labelled pictures: its training split calibrates, its evaluation split judges"""
    pictures: int | None = None
    """that are looked at; None: as many as suit their size"""
    allow_drop: bool = False
    """keep a file whatever it loses, with every layer that can be in 8 bits"""
    squeeze: Squeeze | None = None
    """type of the squeeze-and-excitation branches; None: what is best in the runtime"""
    weight_bits: Literal[7, 8] | None = None
    """None: 8, but 7 in formats whose runtimes add two products in 16 bits on x86 processors without VNNI"""
    tuning: Finetuning | None = None
    """fine-tune with fake quantisation"""
    sensitivity: bool = False
    """report what rounding each layer alone does; without it, only where layers stay in float32"""
    limit: int | None = None
    """evaluate only so many pictures"""

    def __post_init__(self) -> None:
        if self.weight_bits not in (None, 7, 8):
            raise OptionError(f"weights have 8 or 7 bits, not {self.weight_bits}")


def export_int8(
    model: DescribedModule,
    formats: Sequence[str],
    stem: Path,
    settings: Int8Settings,
    *,
    options: ExportOptions | None = None,
    threads: int | None = None,
    progress: Callable[[str], object] | None = None,
    finished: Callable[[Int8Report], object] | None = None,
) -> list[Int8Report]:
    """Write `model` in 8 bits in each format as `stem` with `.int8` and the format's ending.

    Args:
        finished: called with the report of each file once it is in its place.

    Raises:
        ParityError: a file loses more accuracy than allowed; none of that format stays behind, the others are
            written all the same.
        DataError: too few pictures, all of one class, or nothing to measure on.
        OptionError: a format cannot do what is asked, with the reason.
        MissingPackageError: a format's package is not installed.
        SaveError: the disk is full or the folder not writable.
    """
    options = options or ExportOptions()
    exporting = _Exporting(model, settings, options, threads, progress or (lambda text: None))
    found = writers(formats)
    for writer in found:  # before anything is computed
        writer.check(replace(exporting.embedded, interface=exporting.interface))
    return each_of(found, lambda writer: exporting.export(writer, stem), finished)


@dataclass(frozen=True, kw_only=True, eq=False)
class _InFloat:
    """The same format in float32, in the same runtime."""

    engine: Engine
    score: float
    bytes: int


class _Exporting:
    """One network on its way to several formats."""

    def __init__(
        self,
        model: DescribedModule,
        settings: Int8Settings,
        options: ExportOptions,
        threads: int | None,
        progress: Callable[[str], object],
    ) -> None:
        for option, asked in (("--half", options.half), ("--int8-weights", options.int8_weights)):
            if asked:
                raise OptionError(f"{option} and --int8 are two types of one weight; give one of them")
        self.settings, self.options, self.threads, self.progress = settings, options, threads, progress
        self.embedded = make_job(model, options)
        self.plain = make_job(model, replace(options, embed=()))
        self.interface = replace(self.embedded.interface, precision="int8")
        self.seen: Calibration = calibration(settings.source, self.plain.description, settings.pictures)
        self.made: dict[tuple[Scheme, int], FallBack] = {}
        self.float_score: float | None = None

    def export(self, writer: Writer, stem: Path) -> Int8Report:
        """Quantise for the format, write aside, measure, and only then move into place.

        The runtime has the last word: where its file loses too much, more layers are left in float32.
        """
        assert writer.scheme is not None, writer.name
        scheme = self._scheme(writer.scheme)
        fallback = self._fallback(writer, scheme)
        allowed = float("inf") if self.settings.allow_drop else ALLOWED
        path = stem.parent / f"{stem.name}{INNER}{writer.suffix}"
        reports: list[Int8Report] = []
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".export-", dir=stem.parent) as aside:
                float_path = Path(aside) / "float32" / path.name
                with just_written(float_path, path, writer):
                    plain = self._in_float(writer, float_path)
                for step in fallback.worth_trying(_MARGIN * allowed):
                    made = Path(aside) / f"{len(step.kept)} in float32"
                    made.mkdir()
                    left = f", in float32: {', '.join(step.kept)}" if step.kept else ""
                    self.progress(f"{writer.name}: writing and measuring{left}")
                    job = self._job(step, scheme)
                    with just_written(made / path.name, path, writer):
                        writer.write(job, made / path.name)
                        reports.append(self._measure(writer, job, made / path.name, plain, step, fallback))
                    if reports[-1].drop <= allowed:
                        put_in_place(made, stem.parent)
                        return reports[-1]
        except OSError as error:
            raise SaveError(f"cannot save {path}: {explain_os_error(error)}") from error
        overflows = writer.scheme.weight_bits < scheme.weight_bits and not has_vnni()
        raise ParityError(_too_much(min(reports, key=lambda report: report.drop), overflows))

    # --- Quantising --------------------------------------------------------------------------

    def _scheme(self, scheme: Scheme) -> Scheme:
        """A format's own, as the user wants it."""
        settings = self.settings
        return replace(
            scheme,
            squeeze=scheme.squeeze if settings.squeeze is None else settings.squeeze,
            weight_bits=scheme.weight_bits if settings.weight_bits is None else settings.weight_bits,
        )

    def _fallback(self, writer: Writer, scheme: Scheme) -> FallBack:
        """The network for a format, with ever more layers in float32."""
        key = (scheme, writer.channel_multiple)
        if key not in self.made:
            self.progress(f"{writer.name}: calibrating on {self.seen.count} pictures")
            prepared = prepare(pad_channels(self.plain.graph, writer.channel_multiple), self.seen.batches)

            def worst(net: QuantizedGraph) -> list[LayerError]:
                self.progress("rounding each layer alone, to see which it hurts")
                return sensitivity(net, prepared.graph, self.seen.batches[:_LOOKED_AT])

            self.made[key] = FallBack(
                lambda kept: self._rounded(prepared, replace(scheme, kept=kept)),
                lambda net: self._reference() - self._simulated(SimulatedNetwork(net)),
                worst,
            )
        return self.made[key]

    def _rounded(self, prepared: Prepared, scheme: Scheme) -> QuantizedGraph:
        net = round_all(prepared, scheme)
        if self.settings.tuning is None:
            return net
        return finetune(
            net,
            prepared.graph,
            self.seen.batches,
            self.settings.tuning,
            lambda done, total, loss: (
                self.progress(f"fine-tuning {done}/{total}  {loss:.4f}") if done % 50 == 0 else None
            ),
        )

    def _reference(self) -> float:
        """Score of the network in float32, from the graph."""
        if self.float_score is None:
            self.float_score = self._simulated(GraphNetwork(self.plain.graph))
        return self.float_score

    def _simulated(self, network: GraphNetwork) -> float:
        return self._score(SimulatedEngine(network, _of_one_size(self.plain)))

    def _job(self, step: Step, scheme: Scheme) -> Job:
        """What the writer is given: the quantised graph with what is to be embedded, and how it was made."""
        net = step.net
        pixels, mask = "preprocess" in self.options.embed, "argmax" in self.options.embed
        graph = embed(net.graph, self.plain.description.preprocess if pixels else None, mask)
        made = [node.name for node in graph.nodes if isinstance(node, (FromPixels, Grey))]
        first = made[-1] if made else INPUT  # what the network reads
        values = {first if name == INPUT else name: held for name, held in net.values.items()}
        whole = replace(net, graph=graph, values=values)
        about = self.embedded.description
        made_by = {**about.provenance, "quantization": self._how(step, scheme)}
        described = replace(about, provenance=made_by)
        return replace(self.embedded, graph=graph, quantized=whole, interface=self.interface, description=described)

    def _how(self, step: Step, scheme: Scheme) -> dict[str, Any]:
        """For the file's own provenance."""
        layers = [node for node in step.net.graph.nodes if isinstance(node, (Convolution, Linear))]
        held, scales = step.net.values, step.net.scales
        exact = [node.name for node in layers if node.name not in scales or node.inputs[0] not in held]
        return {
            "weight_bits": scheme.weight_bits,
            "calibration": f"{self.seen.count} pictures of {self.settings.source.name}",
            "fine_tuned_steps": 0 if self.settings.tuning is None else self.settings.tuning.steps,
            "squeeze": scheme.squeeze,
            "float32_layers": exact,
            "metrics_of": "the network in float32",
        }

    # --- Measuring ---------------------------------------------------------------------------

    def _score(self, engine: Engine) -> float:
        found = evaluate(engine, self.seen.source, self.seen.split, limit=self.settings.limit)
        return found.headline[1]

    def _in_float(self, writer: Writer, path: Path) -> _InFloat | None:
        """Written in float32 and measured; None where nothing runs the format."""
        if writer.engine is None:
            return None
        path.parent.mkdir()
        writer.write(self.embedded, path)
        engine = open_engine(path, writer.engine, self.threads)
        return _InFloat(engine=engine, score=self._score(engine), bytes=size_of(path))

    def _measure(
        self, writer: Writer, job: Job, path: Path, plain: _InFloat | None, step: Step, fallback: FallBack
    ) -> Int8Report:
        """Accuracy and speed of the file beside the same format in float32."""
        operators: tuple[Operator, ...] = ()
        spent = None
        simulated = self._reference() - step.lost
        score, float_score = simulated, self._reference()
        if plain is not None:
            engine = open_engine(path, writer.engine, self.threads)
            assert isinstance(engine, (ExportedEngine, NativeEngine))
            score, float_score = self._score(engine), plain.score
            picture = next(self.seen.source.readable(self.seen.source.items(self.seen.split)))  # all were read just now
            both = (plain.engine, engine)
            spent = times_ms(both, [interface_of(one).inputs(one.description, picture)[None] for one in both])
            operators = engine.operators()
        total = len(self.seen.source.items(self.seen.split))
        return Int8Report(
            format=writer.name,
            file=path.name,
            runtime=writer.engine,
            metric="miou" if job.description.task == "segmentation" else "top1",
            split=self.seen.split,
            pictures=min(total, self.settings.limit or total),
            float_score=float_score,
            score=score,
            simulated=simulated,
            calibration=self.seen.count,
            kept=step.kept,
            sensitivity=fallback.table if self.settings.sensitivity or fallback.looked else (),
            tuned=0 if self.settings.tuning is None else self.settings.tuning.steps,
            float_ms=None if spent is None else spent[0],
            time_ms=None if spent is None else spent[1],
            float_bytes=0 if plain is None else plain.bytes,
            bytes=size_of(path),
            operators=operators,
        )


def _of_one_size(job: Job) -> Description:
    """The description with pictures of the graph's own size."""
    preprocess = job.description.preprocess
    if preprocess.resize == "shorter":
        preprocess = replace(preprocess, resize="stretch")
    return replace(job.description, preprocess=preprocess)


def _too_much(report: Int8Report, overflows: bool) -> str:
    points = 100 * report.drop
    advice = (
        "this processor has no VNNI, so products of 8-bit weights overflow: leave out --weight-bits 8; "
        if overflows
        else ""
    )
    return (
        f"{report.format}: in 8 bits it loses {points:.1f} points of {report.metric} "
        f"({report.score:.4f} against {report.float_score:.4f}), more than {100 * ALLOWED:.1f}; nothing was written. "
        f"{advice}--qat may win them back, --int8-weights loses none, --allow-drop keeps the file as it is"
    )
