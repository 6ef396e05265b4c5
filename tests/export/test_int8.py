"""Eight bits in each runtime: written as simulated, measured beside float32, refused where they cost too much."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from hswish.data import open_data
from hswish.data.source import DataSource
from hswish.export import ExportOptions, export
from hswish.export.int8 import Int8Settings, export_int8
from hswish.export.native import NativeWriter
from hswish.export.onnx import OnnxWriter
from hswish.models.checkpoint import load
from hswish.models.described import DescribedModule
from hswish.models.engine import TorchEngine
from hswish.quantize.simulate import SimulatedNetwork, run
from hswish.runtime import Predictor, open_engine
from hswish.spec.errors import DataError, ModelFileError, OptionError, ParityError
from hswish.spec.interface import Interface
from hswish.spec.quantized_file import read_quantized
from tests.contract.networks import CLASSES, network, pictures

PACKAGES = {"onnx": "onnx", "executorch": "executorch", "openvino": "openvino", "litert": "ai_edge_litert"}
CLASSIFIER, SEGMENTER = "mobilenet_v3_small", "lraspp_mobilenet_v3_small"


def trained(name: str) -> DescribedModule:
    """A network that rounding shakes as little as a trained one."""
    return network(name, residual=0.3)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures labelled by the float32 network itself: it scores 1, and 8 bits score their agreement with it."""
    folder = tmp_path_factory.mktemp("labelled")
    predictor = Predictor(TorchEngine(trained(CLASSIFIER)))
    for split, seed in (("train", 1), ("val", 2)):
        for index, picture in enumerate(pictures(24, seed)):
            place = folder / split / predictor(picture).label
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    predictor = Predictor(TorchEngine(trained(SEGMENTER)))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    for split, seed in (("train", 1), ("val", 2)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index, picture in enumerate(pictures(16, seed)):
            picture.save(folder / "images" / split / f"{index}.png")
            Image.fromarray(predictor(picture).mask).save(folder / "masks" / split / f"{index}.png")
    return folder


@cache
def opened(folder: Path) -> DataSource:
    return open_data(str(folder))


def settings_for(source: DataSource) -> Int8Settings:
    """Keep the file whatever it loses."""
    return Int8Settings(source=source, allow_drop=True)


@pytest.mark.parametrize("format", ["onnx", "openvino", "litert", pytest.param("executorch", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [CLASSIFIER, SEGMENTER])
def test_each_runtime_answers_as_simulated(
    format: str, name: str, tmp_path: Path, labelled: Path, masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(PACKAGES[format])
    nets = []
    monkeypatch.setattr("hswish.export.int8.SimulatedNetwork", lambda net: nets.append(net) or SimulatedNetwork(net))
    source = opened(labelled if name == CLASSIFIER else masked)
    (report,) = export_int8(trained(name), [format], tmp_path / "net", settings_for(source), threads=1)
    assert report.float_score == 1
    assert report.score > 0.8
    assert all(path.name.startswith("net.int8.") for path in tmp_path.iterdir())
    kinds = {(step.kind, step.dtype) for step in report.operators}
    layer = {"onnx": ("QLinearConv", "uint8"), "openvino": ("Convolution", "uint8"), "litert": ("CONV_2D", "int8")}
    assert format not in layer or layer[format] in kinds
    assert not {kind for kind, dtype in kinds if kind in ("HardSwish", "HardSigmoid")}
    assert [step.kind for step in report.operators if step.kind == "HARD_SWISH" and step.dtype == "int8"] == []
    assert format != "executorch" or all(step.accelerated for step in report.operators), report.operators
    engine = open_engine(tmp_path / report.file, threads=1)
    assert engine.interface.precision == "int8"
    how = dict(engine.description.provenance)
    made = how.pop("quantization")
    assert replace(engine.description, provenance=how) == trained(name).description
    assert made["calibration"].startswith(f"{report.calibration} pictures of ")
    assert made["weight_bits"] == (7 if format in ("onnx", "openvino") else 8)
    batch = np.stack([trained(name).preprocess(picture) for picture in pictures(4, 5)])
    (wanted,) = run(SimulatedNetwork(nets[0]), [batch])
    with torch.inference_mode():
        exact = trained(name)(torch.from_numpy(batch)).numpy()
    found = engine.run(batch)
    # A runtime rounds here and there once more (gates, sums); it must be far nearer the simulated network than
    # a layer written wrongly would leave it.
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(exact).max()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99
    assert report.float_ms > 0
    assert report.bytes < report.float_bytes or format == "openvino"  # a long list of steps


def test_our_own_file_is_the_simulated_network(tmp_path: Path, labelled: Path) -> None:
    settings = Int8Settings(source=opened(labelled), allow_drop=True, sensitivity=True)
    (report,) = export_int8(trained(CLASSIFIER), ["native"], tmp_path / "net", settings)
    errors = [row.error for row in report.sensitivity]
    assert errors == sorted(errors, reverse=True)
    net, description, interface = read_quantized(tmp_path / "net.int8.safetensors")
    made = description.provenance["quantization"]
    exact = [n.name for n in net.graph.nodes if hasattr(n, "weight") and n.inputs[0] not in net.values]
    assert made["float32_layers"] == exact
    assert set(report.kept) <= set(exact)
    assert made["squeeze"] == "float"
    assert description.metrics == trained(CLASSIFIER).description.metrics
    assert interface == Interface(size=(48, 64), precision="int8")
    assert report.score == report.simulated
    assert {row.layer for row in report.sensitivity} == set(net.scales)
    assert net.values["input"].scale > 0
    with pytest.raises(ModelFileError, match="8-bit network, for the engine native"):
        load(tmp_path / "net.int8.safetensors")


def test_what_is_embedded_is_embedded_in_8_bits(tmp_path: Path, masked: Path) -> None:
    options = ExportOptions(embed=("preprocess", "argmax"))
    settings = settings_for(opened(masked))
    (report,) = export_int8(trained(SEGMENTER), ["onnx"], tmp_path / "net", settings, options=options, threads=1)
    assert report.score > 0.8
    engine = open_engine(tmp_path / report.file)
    assert (engine.interface.takes, engine.interface.gives) == ("pixels", "mask")


class Sloppy(OnnxWriter):
    """Writes 8-bit files whose last layer answers the other way round."""

    def write(self, job, path: Path) -> None:
        net = job.quantized
        if net is not None:
            *before, last = net.graph.nodes
            turned = replace(last, weight=-last.weight, bias=-last.bias)
            job = replace(job, quantized=replace(net, graph=replace(net.graph, nodes=(*before, turned))))
        super().write(job, path)


@pytest.mark.parametrize(("weight_bits", "vnni"), [(8, True), (8, False), (7, False), (None, False)])
def test_a_file_that_loses_too_much_is_not_kept(
    weight_bits: Literal[7, 8] | None, vnni: bool, tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the processor may be to blame, the error says how to get round it."""
    monkeypatch.setattr("hswish.export.int8.writers", lambda names: [Sloppy()])
    monkeypatch.setattr("hswish.export.int8.has_vnni", lambda: vnni)
    settings = Int8Settings(source=opened(labelled), weight_bits=weight_bits)
    with pytest.raises(
        ParityError, match=r"onnx: in 8 bits it loses .* points of top1 .*; nothing was written"
    ) as told:
        export_int8(trained(CLASSIFIER), ["onnx"], tmp_path / "net", settings, threads=1)
    assert not list(tmp_path.iterdir())
    assert ("leave out --weight-bits 8" in str(told.value)) == (weight_bits == 8 and not vnni)


class Failing(OnnxWriter):
    """Writes nothing."""

    def write(self, job, path: Path) -> None:
        raise ParityError("onnx: not today")


def test_a_format_that_fails_keeps_no_other_from_being_made(
    tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hswish.export.int8.writers", lambda names: [Failing(), NativeWriter()])
    settings, finished = Int8Settings(source=opened(labelled), allow_drop=True), []
    with pytest.raises(ParityError, match="onnx: not today"):
        export_int8(trained(CLASSIFIER), ["onnx"], tmp_path / "n", settings, threads=1, finished=finished.append)
    assert [report.format for report in finished] == ["native"]
    assert [path.name for path in tmp_path.iterdir()] == ["n.int8.safetensors"]
    monkeypatch.setattr("hswish.export.int8.writers", lambda names: [Failing(), Failing()])
    with pytest.raises(ParityError, match="onnx: not today; onnx: not today"):
        export_int8(trained(CLASSIFIER), ["onnx"], tmp_path / "n", settings, threads=1)


def margin(picture: Image.Image) -> float:
    """By how much the network's first choice surpasses its second."""
    model = trained(CLASSIFIER)
    logits = np.sort(TorchEngine(model).run(model.preprocess(picture)[None])[0])
    return float(logits[-1] - logits[-2])


def surest(labelled: Path) -> DataSource:
    """Of val the pictures that rounding does not shake."""
    source = opened(labelled)
    sure = sorted(source.splits["val"], key=lambda item: -margin(source.read_picture(item)))[:8]
    return source.divided({"train": source.splits["train"], "val": tuple(sure)}, "made here")


class Shaky(Sloppy):
    """Writes such a file of the network that is rounded most, as no simulator foretells."""

    layers = 0

    def write(self, job, path: Path) -> None:
        rounded = 0 if job.quantized is None else len(job.quantized.scales)
        self.layers = self.layers or rounded
        (Sloppy if rounded == self.layers else OnnxWriter).write(self, job, path)


def test_layers_stay_in_float_where_the_runtime_loses_more_than_simulated(
    tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hswish.export.int8.writers", lambda names: [Shaky()])
    settings = Int8Settings(source=surest(labelled))
    (report,) = export_int8(trained(CLASSIFIER), ["onnx"], tmp_path / "net", settings, threads=1)
    assert report.kept
    assert [path.name for path in tmp_path.iterdir()] == [report.file]


def test_calibration_data_that_does_not_do_is_refused(tmp_path: Path, labelled: Path) -> None:
    source = opened(labelled)
    few = source.divided({"train": source.splits["train"][:5], "val": source.splits["val"]}, "made here")
    first = source.splits["train"][0].target
    same = [item for item in source.splits["train"] if item.target == first] * 20
    alike = source.divided({"train": tuple(same[:20]), "val": source.splits["val"]}, "made here")
    blind = source.divided({"train": source.splits["train"]}, "made here")
    lone = replace(  # a folder of one class, where the network knows more
        alike,
        classes=(CLASSES[0],),
        splits={name: tuple(replace(item, target=0) for item in items) for name, items in alike.splits.items()},
    )
    for data, reason in (
        (few, "needs 16 pictures or more, there are 5"),
        (alike, "all 20 calibration pictures are of one class"),
        (lone, "all 20 calibration pictures are of one class"),
        (blind, "has no split val or test"),
    ):
        with pytest.raises(DataError, match=reason):
            export_int8(trained(CLASSIFIER), ["onnx"], tmp_path / "n", Int8Settings(source=data))
    plain = tmp_path / "plain"
    (plain / "classes.txt").parent.mkdir()
    (plain / "classes.txt").write_text("\n".join(CLASSES))
    for kind, value in (("images", 90), ("masks", 3)):
        for split in ("train", "val"):
            (plain / kind / split).mkdir(parents=True)
            for index in range(16):
                pixels = np.full((48, 64), value, np.uint8)
                pixels[:9] = 255  # not labelled
                Image.fromarray(pixels).save(plain / kind / split / f"{index}.png")
    with pytest.raises(DataError, match=r"all 16 calibration pictures are of one class \(elm\)"):
        export_int8(trained(SEGMENTER), ["onnx"], tmp_path / "n", Int8Settings(source=open_data(str(plain))))
    with pytest.raises(OptionError, match="8 or 7 bits"):
        Int8Settings(source=source, weight_bits=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("format", "reason"),
    [("coreml", "coreml has no --int8: "), ("ncnn", "ncnn has no --int8: ")],
)
def test_formats_without_int8_say_why(format: str, reason: str, tmp_path: Path, labelled: Path) -> None:
    with pytest.raises(OptionError, match=reason):
        export_int8(trained(CLASSIFIER), [format], tmp_path / "n", Int8Settings(source=opened(labelled)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
@pytest.mark.parametrize(("name", "most"), [(CLASSIFIER, 0.1), (SEGMENTER, 0.05)])
def test_weights_alone_in_8_bits(name: str, most: float, format: str, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[format])
    model = trained(name)
    options = ExportOptions(int8_weights=True)
    (report,) = export(model, [format], tmp_path / "net", pictures(2), options=options, threads=1)
    assert report.largest_difference <= max(1e-4, 1e-5 * report.largest_logit)
    (plain,) = export(model, [format], tmp_path / "plain", pictures(2), threads=1)
    assert report.bytes < 0.85 * plain.bytes  # so small a file is half description
    engine = open_engine(tmp_path / report.file)
    batch = np.stack([model.preprocess(picture) for picture in pictures(3, 4)])
    with torch.inference_mode():
        wanted = model(torch.from_numpy(batch)).numpy()
    difference = np.abs(engine.run(batch) - wanted)
    assert 0 < difference.max() < most * np.abs(wanted).max()


def test_two_types_of_one_weight_are_refused() -> None:
    with pytest.raises(OptionError, match="two types of one weight"):
        ExportOptions(half=True, int8_weights=True)
