"""`hswish bench` as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from hswish.cli import run
from hswish.models.checkpoint import save
from tests.contract.networks import CLASSES, network, pictures

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.safetensors, and pictures/ of the classes in val and train."""
    made = tmp_path_factory.mktemp("bench")
    save(network("mobilenet_v3_small"), made / "net.safetensors")
    for split, count in (("val", 10), ("train", 20)):
        for index, picture in enumerate(pictures(count)):
            path = made / "pictures" / split / CLASSES[index % len(CLASSES)] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return made


def hswish(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def test_bench(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hswish("export", folder / "net.safetensors", "--data", folder / "pictures", "-o", folder / "fast") == 0
    capsys.readouterr()
    arguments = ("--threads", "1", "--engine", "onnxruntime", "--runs", 2, "--json")
    plot = folder / "plot.png"
    data = ("--data", folder / "pictures", "--plot", plot)
    assert hswish("bench", folder / "fast" / "net.onnx", *arguments, *data) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["machine"]["versions"]) == {"python", "onnxruntime"}
    assert 0 <= shown["rows"][0]["accuracy"] <= 1
    assert plot.is_file()
    assert hswish("bench", folder / "fast" / "net.onnx", "--threads", "none") == 2
    assert "--threads takes numbers" in capsys.readouterr().err


def test_bench_tells_files_of_one_name_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two models of one name, in two folders: one as it is, one that finds the last class everywhere."""
    blind = network("mobilenet_v3_small", keep_size=1)
    for file, model in (("one", network("mobilenet_v3_small")), ("two", blind)):
        if model is blind:
            model.head.classifier.weight.data.zero_()
            model.head.classifier.bias.data = torch.arange(len(CLASSES)).float()
        (folder / file).mkdir()
        save(model, folder / file / "net.safetensors")
    data = folder / "pictures"
    files = [folder / name / "net.safetensors" for name in ("one", "two")]
    options = ("--engine", "torch", "--runs", 1, "--threads", 1, "--json")
    assert hswish("bench", *files, *options, "--data", data) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["file"] for row in rows] == list(map(str, files))
    for row in rows:
        assert hswish("eval", row["file"], data, "--json") == 0
        assert row["accuracy"] == json.loads(capsys.readouterr().out)["top1"]
    assert rows[1]["accuracy"] == 0.2
    assert rows[0]["difference"] == 0 < rows[1]["difference"]


def test_bench_leaves_out_an_engine_that_is_not_installed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hswish("export", folder / "net.safetensors", "--data", folder / "pictures", "-o", folder / "left") == 0
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert hswish("bench", folder / "left" / "net.onnx", "--runs", 1, "--threads", 1) == 0
    shown = capsys.readouterr()
    assert "onnxruntime" in shown.out
    assert "needs the package openvino: pip install 'hswish[openvino]'" in shown.err
    assert hswish("bench", folder / "left" / "net.onnx", "--engine", "openvino") == 2
    assert "pip install 'hswish[openvino]'" in capsys.readouterr().err


def test_bench_tells_a_file_that_the_engine_cannot_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hswish("export", folder / "net.safetensors", "--data", folder / "pictures", "-o", folder / "asked") == 0
    capsys.readouterr()
    files = (folder / "asked" / "net.onnx", folder / "net.safetensors")
    assert hswish("bench", *files, "--engine", "onnxruntime", "--runs", 1, "--threads", 1, "--json") == 0
    shown = capsys.readouterr()
    assert [row["file"] for row in json.loads(shown.out)["rows"]] == [str(files[0])]
    assert f"{files[1]}: left out, onnxruntime cannot run it" in shown.err


def test_bench_exports_first_where_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In float32 and in 8 bits; nothing of it stays behind, and the model beside them is timed as ever."""
    before = sorted(folder.rglob("*"))
    options = ("--runs", 1, "--threads", 1, "--json")
    data = ("--data", folder / "pictures", "--calibrate", folder / "pictures")
    engines = ("--engine", "onnxruntime", "--engine", "torch")
    assert hswish("bench", folder / "net.safetensors", "--formats", "onnx", *data, *engines, *options) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["rows"]
    assert [(row["file"], row["engine"], row["precision"]) for row in rows] == [
        (str(folder / "net.safetensors"), "torch", "float32"),
        ("net.onnx", "onnxruntime", "float32"),
        ("net.int8.onnx", "onnxruntime", "int8"),
    ], shown.err
    assert rows[1]["difference"] < 1e-4 < rows[2]["difference"]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert sorted(folder.rglob("*")) == before


def test_bench_refuses_formats_that_it_cannot_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "net.safetensors"
    for arguments, words in (
        ((model, "--formats", "coreml"), "nothing on this system runs coreml; leave it out of --formats"),
        ((model, "--formats", "onnx,native"), "--formats native is made in 8 bits only; add --calibrate DATA"),
        ((model, "--formats", "onxx"), "unknown format 'onxx'; did you mean onnx"),
        ((model, "--calibrate", folder / "pictures"), "--calibrate is for the files that --formats makes"),
        ((folder / "net.onnx", "--formats", "onnx"), "none is among these files"),
    ):
        assert hswish("bench", *arguments) == 2
        assert words in capsys.readouterr().err
