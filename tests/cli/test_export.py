"""From a model file to device files and back to accuracy, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hswish.cli import run
from hswish.models.checkpoint import save
from hswish.runtime.native.library import is_present
from tests.contract.networks import CLASSES, network, pictures

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.safetensors, scenes.safetensors, and pictures/ of the classes."""
    made = tmp_path_factory.mktemp("device")
    save(network("mobilenet_v3_small"), made / "net.safetensors")
    save(network("lraspp_mobilenet_v3_small"), made / "scenes.safetensors")
    for index, picture in enumerate(pictures(10)):
        path = made / "pictures" / "val" / CLASSES[index % len(CLASSES)] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return made


def hswish(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def test_export_predict_eval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder / "pictures"
    out = folder / "out"
    assert hswish("export", folder / "net.safetensors", "--data", source, "-f", "onnx", "-o", out, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)["exports"]
    assert report["file"] == "net.onnx"
    assert report["pictures"] == 8
    assert report["largest_difference"] <= report["limit"] == 1e-4
    assert report["slow_operators"] == []
    scores = []
    for model in (folder / "net.safetensors", out / "net.onnx"):
        assert hswish("eval", model, source, "--split", "val", "--workers", 0, "--json") == 0
        scores.append(json.loads(capsys.readouterr().out))
    for score in scores:
        del score["seconds"]
        score["calibration_error"] = round(score["calibration_error"], 4)
    assert scores[0] == scores[1]
    labels = []
    for model in (folder / "net.safetensors", out / "net.onnx"):
        assert hswish("predict", model, source, "--json") == 0
        labels.append([json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()])
    assert labels[0] == labels[1]
    assert len(set(labels[0])) > 1


def test_pixels_in_masks_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("--embed", "preprocess", "--embed", "argmax")
    out = folder / "masks"
    photo = folder / "pictures" / "val" / CLASSES[0] / "0.png"
    assert hswish("export", folder / "scenes.safetensors", "--data", photo, *steps, "-o", out) == 0
    assert "100.0000%" in capsys.readouterr().out
    assert hswish("predict", out / "scenes.onnx", photo, "--out", out / "drawn") == 0
    assert (out / "drawn" / "0.mask.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "onx"), "unknown format 'onx'; did you mean onnx"),
        (("--format", "litert", "--dynamic"), "litert has no --dynamic"),
        (("--embed", "argmax"), "this model labels whole pictures"),
        (("--size", "0"), "--size takes 224 or 360x480"),
        (("--data", "nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_bad_requests_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert hswish("export", folder / "net.safetensors", "--out", folder / "none", *arguments) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (folder / "none").exists()


def test_8_bits_are_measured_beside_float32(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, seed in (("train", 3), ("val", 4)):
        for index, picture in enumerate(pictures(20, seed)):
            path = tmp_path / "data" / split / CLASSES[index % len(CLASSES)] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    given = ("export", folder / "net.safetensors", "-f", "onnx,native", "-o", tmp_path, "--threads", 1)
    eight = (*given, "--int8", "--calibrate", tmp_path / "data", "--allow-drop")
    assert hswish(*eight, "--json") == 0
    onnx, native = json.loads(capsys.readouterr().out)["exports"]
    assert onnx["file"] == "net.int8.onnx"
    assert onnx["drop"] == onnx["float_score"] - onnx["score"]
    assert onnx["speedup"] == onnx["float_ms"] / onnx["time_ms"]
    assert {step["dtype"] for step in onnx["operators"]} >= {"uint8", "float32"}
    assert (native["runtime"], native["calibration"]) == ("native" if is_present() else None, 20)
    assert hswish(*eight, "--sensitivity") == 0
    printed = capsys.readouterr().out
    assert "native: a layer rounded alone" in printed
    assert "backbone.blocks.0.depthwise" in printed
    assert "outside the integer kernels" in printed
    assert "too few pictures to tell 0.5 points: one of them is 5.0" in printed
    assert "QLinearConv uint8" in printed
    assert hswish("predict", tmp_path / "net.int8.onnx", folder / "pictures" / "val" / CLASSES[0]) == 0
    capsys.readouterr()
    assert hswish("eval", tmp_path / "net.int8.onnx", tmp_path / "data", "--json") == 0
    assert json.loads(capsys.readouterr().out)["top1"] == onnx["score"]


def test_bad_requests_of_8_bits_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("export", folder / "net.safetensors", "-o", folder / "bad8")
    for options, reason in (
        (("--int8",), "name labelled ones with --calibrate"),
        (("--qat",), "belong to --int8"),
        (("--int8", "--calibrate", folder / "pictures"), "calibration needs 16 pictures or more, there are 10"),
        (("--int8", "--calibrate", folder / "nothing"), "nothing"),
        (("--int8", "--calibrate", "digits", "--squeeze", "in8"), "did you mean int8"),
        (("--int8", "--calibrate", "digits", "--data", "digits"), "leave --data out"),
        (("--int8", "--calibrate", "digits", "--pictures", "9"), "calibration needs 16 pictures or more, there are 9"),
        (("--int8", "--calibrate", "digits", "--half"), "two types of one weight"),
        (("--int8", "--calibrate", "digits", "--dynamic", "-f", "native"), "native has no --dynamic"),
        (("-f", "native"), "add --int8"),
    ):
        assert hswish(*given, *options) == 2
        error = capsys.readouterr().err
        assert reason in " ".join(error.split())
        assert "Traceback" not in error
    assert not (folder / "bad8").exists()


def test_files_that_hold_no_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    copy = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", [value], [copy])
    foreign = folder / "foreign.onnx"
    foreign.write_bytes(onnx.helper.make_model(graph, ir_version=8).SerializeToString())
    (folder / "x.mlpackage").mkdir()
    (folder / "x.bin").touch()
    for name, words in (
        ("foreign.onnx", "holds no hswish description; make it with: hswish export"),
        ("x.mlpackage", "runs on Apple's systems only"),
        ("x.bin", "name the .xml or .param file beside it"),
    ):
        assert hswish("predict", folder / name, folder / "pictures") == 2
        assert words in capsys.readouterr().err
