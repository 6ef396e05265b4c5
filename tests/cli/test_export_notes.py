"""What `hswish export` says beside its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hswish.export.openvino import OpenVinoWriter
from hswish.models.checkpoint import save
from hswish.spec.errors import ParityError
from tests.contract.networks import CLASSES, network, pictures

NOTE = "MediaPipe Tasks give RGB, all channels scaled alike: for them, add --embed preprocess"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("notes")
    save(network("mobilenet_v3_small"), made / "net.safetensors")
    for index, picture in enumerate(pictures(18)):
        for split in ("train", "val"):
            path = made / "pictures" / split / CLASSES[index % len(CLASSES)] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return made


@pytest.mark.parametrize("eight_bits", [False, True])
def test_mediapipes_scaling_is_told(eight_bits: bool, folder: Path, tmp_path: Path, hswish_cli) -> None:
    pytest.importorskip("ai_edge_litert")
    words = ["export", folder / "net.safetensors", "-f", "litert", "-o", tmp_path]
    words += ["--int8", "--allow-drop", "--calibrate" if eight_bits else "--data", folder / "pictures"]
    if not eight_bits:
        words = [word for word in words if word not in ("--int8", "--allow-drop")]
    assert NOTE in hswish_cli(*words).success().err.splitlines()
    assert NOTE not in hswish_cli(*words, "--embed", "preprocess").success().err


def test_what_is_known_of_a_file_that_nothing_runs_here(folder: Path, tmp_path: Path, hswish_cli) -> None:
    pytest.importorskip("coremltools")
    words = ("export", folder / "net.safetensors", "--data", folder / "pictures", "-o", tmp_path, "-f")
    out = hswish_cli(*words, "coreml").success().out
    assert (
        "coreml: nothing on this system runs it; the file was read back, and what stands in it, computed by hswish, "
        "gives the network's answers" in out.splitlines()
    )
    reports = [json.loads(hswish_cli(*words, name, "--json").out)["exports"][0] for name in ("coreml", "onnx")]
    assert [report["checked"] for report in reports] == ["structure", "answers"]


WITHOUT = """
import sys
absent = sys.argv.pop(1)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from hswish.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "format", "package", "extra"),
    [
        ("torchao", "executorch", "torchao", "executorch"),
        ("onnx", "onnx", "onnx", "onnx"),
        ("google", "onnx", "protobuf", "onnx"),
        ("openvino", "openvino", "openvino", "openvino"),
        ("ai_edge_litert", "litert", "ai-edge-litert", "litert"),
        ("ncnn", "ncnn", "ncnn", "ncnn"),
        ("cattrs", "coreml", "cattrs", "coreml"),
    ],
)
def test_what_is_absent_is_named(
    module: str, format: str, package: str, extra: str, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip({"litert": "ai_edge_litert", "coreml": "coremltools"}.get(format, format))
    out = tmp_path / "out"
    words = [module, "export", folder / "net.safetensors", "--data", folder / "pictures", "-f", format, "-o", out]
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.endswith(f" needs the package {package}: pip install 'hswish[{extra}]'")
    assert ".export-" not in line
    assert not out.exists() or not list(out.iterdir())


def test_what_was_kept_is_told_whatever_fails_after_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hswish_cli
) -> None:
    def refuse(self: OpenVinoWriter, job: object, path: Path) -> None:
        raise ParityError("openvino: not today")

    monkeypatch.setattr(OpenVinoWriter, "write", refuse)
    words = ("export", folder / "net.safetensors", "--data", folder / "pictures", "-o", tmp_path, "-f")
    done = hswish_cli(*words, "onnx,openvino,ncnn", "--threads", "1", "--json")
    assert done.status == 2
    assert [report["format"] for report in json.loads(done.out)["exports"]] == ["onnx", "ncnn"]
    assert done.err.splitlines()[-1] == "error: openvino: not today"
    assert {path.name.partition(".")[2] for path in tmp_path.glob("*net*")} == {
        "onnx",
        "ncnn.param",
        "ncnn.bin",
        "ncnn.json",
    }


def test_litert_says_nothing_of_its_own(folder: Path, tmp_path: Path, hswish_cli) -> None:
    pytest.importorskip("ai_edge_litert")
    words = ("export", folder / "net.safetensors", "--data", folder / "pictures", "-o", tmp_path, "-f", "litert")
    assert "INFO" not in hswish_cli(*words).success().err
    assert not hswish_cli("predict", tmp_path / "net.tflite", folder / "pictures" / "val", "--json").success().err
