"""What an export promises beside equal numbers: nothing bad stays behind, and each refusal says why."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hswish.cli import run
from hswish.export import FORMATS, ExportOptions, export
from hswish.export.onnx import OnnxWriter
from hswish.export.trace import trace
from hswish.models.activations import HSwish
from hswish.spec.errors import MissingPackageError, OptionError, ParityError, SaveError
from hswish.spec.graph import Convolution
from tests.contract.networks import CLASSES, network, pictures

onnx = pytest.importorskip("onnx")


class Sloppy(OnnxWriter):
    """Writes one bias a little wrong."""

    def write(self, job, path: Path) -> None:
        node = next(node for node in job.graph.nodes if isinstance(node, Convolution))
        node.bias[0] += 0.05
        try:
            super().write(job, path)
        finally:
            node.bias[0] -= 0.05


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = tmp_path / "net.onnx"
    before.write_text("what was there")
    monkeypatch.setattr("hswish.export.pipeline.writers", lambda names: [Sloppy()])
    with pytest.raises(ParityError, match="onnx: its logits differ from the network's by up to"):
        export(network(name), ["onnx"], tmp_path / "net", pictures(2))
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert before.read_text() == "what was there"


def test_masks_that_differ_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hswish.export.pipeline.writers", lambda names: [Sloppy()])
    model, options = network("lraspp_mobilenet_v3_small"), ExportOptions(embed=("argmax",))
    with pytest.raises(ParityError, match=r"of the mask pixels are the network's, fewer than 99\.99%"):
        export(model, ["onnx"], tmp_path / "net", pictures(2), options=options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "options", "reason"),
    [
        ("litert", {"dynamic": True}, "litert has no --dynamic: (?!.*resize)"),  # a classifier has none
        ("ncnn", {"dynamic": True}, "ncnn has no --dynamic: (?!.*resize)"),
        ("executorch", {"dynamic": True}, "executorch has no --dynamic: (?!.*resize)"),
        ("coreml", {"dynamic": True}, "coreml has no --dynamic: "),
        ("executorch", {"half": True}, "executorch has no --half: "),
        ("onnx", {"embed": ("argmax",)}, "this model labels whole pictures"),
        ("onnxx", {}, "unknown format 'onnxx'; did you mean onnx"),
    ],
)
def test_refusals_say_why(tmp_path: Path, format: str, options: dict, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        export(network("mobilenet_v3_small"), [format], tmp_path / "n", pictures(1), options=ExportOptions(**options))
    assert not list(tmp_path.iterdir())


def test_no_folder_makes_way_for_a_file(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "m.onnx").mkdir()
    (tmp_path / "m.onnx/notes.txt").write_text("mine")
    with pytest.raises(SaveError, match="a folder stands there"):
        export(network("mobilenet_v3_small"), ["onnx"], tmp_path / "m", pictures(1), threads=1)
    assert (tmp_path / "m.onnx/notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_more_refusals(tmp_path: Path) -> None:
    official = network("lraspp_mobilenet_v3_small", head="official")
    with pytest.raises(OptionError, match="pools by a window that depends on the picture's size"):
        export(official, ["onnx"], tmp_path / "n", pictures(1), options=ExportOptions(dynamic=True))
    with pytest.raises(OptionError, match="did you mean argmax"):
        ExportOptions(embed=("argmaxx",))
    with pytest.raises(OptionError, match="at least one"):
        export(official, ["onnx"], tmp_path / "n", [])
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="a file stands where a folder is needed"):
        export(network("mobilenet_v3_small"), ["onnx"], tmp_path / "file" / "n", pictures(1))


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_package_names_the_extra(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    package = {"litert": "ai_edge_litert", "coreml": "coremltools"}.get(format, format)
    for module in [name for name in sys.modules if name.split(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "hswish.export.executorch_lowering", raising=False)  # imports it
    with pytest.raises(MissingPackageError, match=rf"hswish\[{format}\]"):
        export(network("mobilenet_v3_small"), [format], tmp_path / "n", pictures(1), threads=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["m.onnx", "m.XML", "m.tflite", "m.pte", "m.ncnn.param", "m.mlpackage"])
def test_an_exported_file_is_not_exported_again(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if name == "m.mlpackage":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"\x08\x07\x12\x04onnx" * 10)
    assert run(["export", str(tmp_path / name), "-f", "litert"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        f"error: {tmp_path / name}: an exported file already; export the model that it was made from"
    )


def test_onnx_is_one_node_an_operation(tmp_path: Path) -> None:
    model = network("mobilenet_v3_large")
    export(model, ["onnx"], tmp_path / "n", pictures(1))
    proto = onnx.load(tmp_path / "n.onnx")
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("HardSwish") == sum(isinstance(module, HSwish) for module in model.modules())
    assert kinds.count("GlobalAveragePool") == 9  # 8 squeezes and the classifier's
    assert kinds.count("HardSigmoid") == 8
    others = {"Conv", "Relu", "Mul", "Add", "Flatten", "Gemm"}
    assert set(kinds) == others | {"HardSwish", "HardSigmoid", "GlobalAveragePool"}
    assert proto.opset_import[0].version >= 17
    stored = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(stored["hswish"])["classes"] == list(CLASSES)


def test_tflite_keeps_h_swish_whole_and_has_no_transposes(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from hswish.runtime import open_engine

    model = network("mobilenet_v3_large")
    export(model, ["litert"], tmp_path / "n", pictures(1), threads=1)
    kinds = {operator.kind: operator.count for operator in open_engine(tmp_path / "n.tflite").operators()}
    assert kinds["HARD_SWISH"] == sum(isinstance(module, HSwish) for module in model.modules())
    assert kinds["MEAN"] == 9
    assert "TRANSPOSE" not in kinds
    with zipfile.ZipFile(tmp_path / "n.tflite") as archive:  # where MediaPipe looks for them
        assert archive.read("labels.txt").decode().split() == list(CLASSES)


def test_the_graph_is_the_network_with_batch_norm_folded() -> None:
    model = network("mobilenet_v3_small")
    graph = trace(model, (48, 64))
    counts = graph.counts()
    assert "BatchNorm2d" not in counts
    assert counts["Convolution"] == sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    node = graph["backbone.stem.conv"]
    assert isinstance(node, Convolution)
    norm = model.backbone.stem.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    wanted = model.backbone.stem.conv.weight * scale[:, None, None, None]
    np.testing.assert_allclose(node.weight, wanted.detach().numpy(), rtol=1e-5)


def test_a_fixed_size_stretches_where_the_shape_was_kept(tmp_path: Path) -> None:
    from dataclasses import replace

    from hswish.runtime import Predictor

    model = network("lraspp_mobilenet_v3_small", size=(40, 56))
    model.describe(preprocess=replace(model.preprocess, resize="shorter"))
    export(model, ["onnx"], tmp_path / "fixed", pictures(1), options=ExportOptions(size=(33, 47)))
    predictor = Predictor(tmp_path / "fixed.onnx")
    assert predictor.description.preprocess.resize == "stretch"
    assert predictor(pictures(1)[0]).mask.shape == pictures(1)[0].size[::-1]
    export(model, ["onnx"], tmp_path / "any", pictures(1), options=ExportOptions(dynamic=True))
    assert Predictor(tmp_path / "any.onnx").description.preprocess.resize == "shorter"
