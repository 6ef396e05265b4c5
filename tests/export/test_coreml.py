"""A Core ML package is read back, and what stands in it must answer as the network does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hswish.cli import run
from hswish.export import ExportOptions, export
from hswish.export.coreml import CoreMlReader, _Program
from hswish.export.parity import ParityReport
from hswish.models.checkpoint import save
from hswish.models.described import DescribedModule
from hswish.spec import graph as g
from hswish.spec.errors import ModelFileError, ParityError
from tests.contract.networks import network, pictures

ODD = (47, 65)
"""A size at which nothing divides by two"""

coremltools = pytest.importorskip("coremltools")


def exported(model: DescribedModule, folder: Path, **options: Any) -> ParityReport:
    (report,) = export(model, ["coreml"], folder / "m", pictures(2), options=ExportOptions(**options), threads=1)
    return report


@pytest.mark.parametrize(  # the others, at real size, among the slow tests of the matrix
    ("name", "options"),
    [
        ("mobilenet_v3_small", {"padding": "same", "output_stride": 8}),
        ("lraspp_mobilenet_v3_small", {"head": "official"}),
        ("lraspp_mobilenet_v3_small_minimal", {"head": "raspp"}),
    ],
)
def test_its_steps_give_the_networks_logits(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    report = exported(network(name, size=ODD, **options), tmp_path)
    assert report.runtime is report.time_ms is report.reference_ms is None
    assert report.checked == "structure"
    assert report.pictures == 2
    assert report.largest_difference <= max(1e-4, 1e-5 * report.largest_logit)


@pytest.mark.parametrize(
    ("channels", "half"),
    [
        ("RGB", False),
        ("L", False),
        ("L", True),
        pytest.param("BGR", False, marks=pytest.mark.slow),
        pytest.param("RGB", True, marks=pytest.mark.slow),
    ],
)
def test_pixels_and_half(channels: str, half: bool, tmp_path: Path) -> None:
    model = network("mobilenet_v3_small", channels=channels, in_channels=1 if channels == "L" else 3)
    report = exported(model, tmp_path, embed=("preprocess",), half=half)
    assert report.agreement == 1
    assert (report.largest_difference > 1e-4) == half


def test_masks_are_compared(tmp_path: Path) -> None:
    report = exported(network("lraspp_mobilenet_v3_small", size=ODD), tmp_path, embed=("preprocess", "argmax"))
    assert report.largest_difference is None
    assert report.agreement >= 0.9999
    mask = CoreMlReader.open(tmp_path / report.file).run(np.asarray(pictures(1)[0].resize(ODD[::-1]))[None])
    assert mask.shape == (1, *ODD)
    assert len(np.unique(mask)) > 1
    spec = coremltools.models.MLModel(str(tmp_path / report.file), skip_model_load=True).get_spec()
    kind = spec.description.output[0].type.multiArrayType
    assert kind.dataType == kind.INT32  # as docs/export.md says


def test_what_was_computed_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(network("mobilenet_v3_small"), tmp_path / "net.safetensors")
    pictures(1)[0].save(tmp_path / "one.png")
    assert run(["export", str(tmp_path / "net.safetensors"), "-f", "coreml", "--data", str(tmp_path / "one.png")]) == 0
    first, *rows = capfd.readouterr().out.splitlines()
    assert "largest difference" in first
    assert "not run here" in rows[0]
    assert "100.0000%" in rows[0]
    assert any("what stands in it, computed by hswish, gives the network's answers" in row for row in rows)


def zeroed(node: g.Node) -> g.Node:
    return replace(node, weight=np.zeros_like(node.weight)) if isinstance(node, g.Convolution) else node


def nudged(node: g.Node) -> g.Node:
    """The biases of one layer a little wrong."""
    return replace(node, bias=node.bias + 0.05) if node.name == "backbone.stem.conv" else node


def swapped(node: g.Node) -> g.Node:
    """Two layers shrink the map in the other order; shapes are the same again after them."""
    strides = {"backbone.blocks.0.depthwise.conv": 1, "backbone.blocks.0.project.conv": 2}
    return replace(node, stride=strides[node.name]) if node.name in strides else node


@pytest.mark.parametrize(
    ("change", "embed"),
    [(zeroed, ("argmax",)), (zeroed, ()), (nudged, ()), (swapped, ())],
    ids=["zeroed-masks", "zeroed", "nudged", "swapped"],
)
def test_a_wrong_package_is_refused(
    change: Callable[[g.Node], g.Node], embed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = _Program._lower
    monkeypatch.setattr(_Program, "_lower", lambda self, node, *rest: right(self, change(node), *rest))
    monkeypatch.setattr("hswish.export.coreml._check", lambda *given: None)  # what it counts is not what is tested
    words = "of the mask pixels are the network's" if embed else "its logits differ from the network's by up to"
    with pytest.raises(ParityError, match=f"coreml: .*{words}"):
        exported(network("lraspp_mobilenet_v3_small"), tmp_path, embed=embed)
    assert not list(tmp_path.iterdir())


def test_a_missing_activation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = _Program._activation
    monkeypatch.setattr(
        _Program,
        "_activation",
        lambda self, kind, x, name: x if name == "backbone_last_act" else right(self, kind, x, name),
    )
    with pytest.raises(ModelFileError, match="27 sigmoid_hard for 28") as caught:
        exported(network("mobilenet_v3_small"), tmp_path)
    assert ".export-" not in str(caught.value)
    monkeypatch.setattr("hswish.export.coreml._check", lambda *given: None)
    with pytest.raises(ParityError, match="coreml: its logits differ"):
        exported(network("mobilenet_v3_small"), tmp_path)


def test_colours_that_are_turned_round_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, layout = coremltools.ImageType, coremltools.colorlayout.BGR
    monkeypatch.setattr(coremltools, "ImageType", lambda **given: right(**{**given, "color_layout": layout}))
    with pytest.raises(ParityError, match="coreml: its logits differ"):
        exported(network("mobilenet_v3_small"), tmp_path, embed=("preprocess",))


def test_a_step_that_nobody_asked_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = _Program._activation

    def other(self: _Program, kind: g.ActivationKind, x: Any, name: str) -> Any:
        return self.mb.leaky_relu(x=x, alpha=0.1, name=name) if kind == "sigmoid" else right(self, kind, x, name)

    monkeypatch.setattr(_Program, "_activation", other)
    with pytest.raises(ModelFileError, match="the converter made a step leaky_relu, which hswish") as caught:
        exported(network("lraspp_mobilenet_v3_small"), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'm.mlpackage'}: ")
