from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.bench import Contender, contenders, machine, measure
from hswish.bench.figure import latency_accuracy
from hswish.bench.process import Timed, take_turns
from hswish.export import export
from hswish.models.checkpoint import save
from hswish.spec.errors import HswishError, ModelFileError, OptionError
from tests.contract.networks import network, pictures

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and its ONNX file."""
    folder = tmp_path_factory.mktemp("bench")
    save(network("mobilenet_v3_small"), folder / "net.safetensors")
    export(network("mobilenet_v3_small"), ["onnx"], folder / "net", pictures(1), threads=1)
    return folder / "net.safetensors", folder / "net.onnx"


def test_contenders_are_engines_that_open_the_file(files: tuple[Path, Path]) -> None:
    found = contenders(files, ["torch", "onnxruntime"], [1, 2])
    assert [(contender.path, contender.engine, contender.threads) for contender in found] == [
        (files[0], "torch", 1),
        (files[0], "torch", 2),
        (files[1], "onnxruntime", 1),
        (files[1], "onnxruntime", 2),
    ]
    with pytest.raises(OptionError, match="no engine is left"):
        contenders(files, ["ncnn"], [1])
    with pytest.raises(OptionError, match="unknown engine 'onnxruntme'; did you mean onnxruntime"):
        contenders(files, ["onnxruntme"], [1])
    with pytest.raises(ModelFileError, match="no such model file"):
        contenders([files[0].with_name("gone.onnx")], [], [1])


def test_precisions_are_of_engines_with_a_choice(files: tuple[Path, Path]) -> None:
    """Others are measured once, in what their file says; none with a choice is an error, and so is a wrong name."""
    pytest.importorskip("hswish.runtime.native._engine")
    found = contenders(files, ["native", "onnxruntime"], [1], ["float32"])
    assert [(contender.engine, contender.precision) for contender in found] == [
        ("native", "float32"),
        ("onnxruntime", None),
    ]
    with pytest.raises(OptionError, match="unknown precision 'float23'; did you mean float32"):
        contenders(files, [], [1], ["float23"])
    with pytest.raises(OptionError, match="a choice of precision has the native engine"):
        contenders(files, ["onnxruntime"], [1], ["float32"])


def test_rows(files: tuple[Path, Path]) -> None:
    rounds: list[tuple[int, int]] = []
    found = contenders(files, ["torch", "onnxruntime"], [1])
    rows = measure(found, runs=4, picture=pictures(1)[0], progress=lambda *done: rounds.append(done))
    assert [row.engine for row in rows] == ["torch", "onnxruntime"]
    assert rounds[-1] == (4, 4)
    for row in rows:
        assert row.runs == 4
        assert 0 < row.median_ms <= row.p95_ms < row.cold_ms
        assert row.memory_bytes > 1e6
    assert rows[0].difference == 0
    assert 0 < rows[1].difference < 1e-4
    assert rows[1].bytes == files[1].stat().st_size


def test_a_contender_that_fails_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hswish.bench.worker", str(files[1]), "onnxruntime", "1"]
    np.save(tmp_path / "in.npy", np.zeros((1, 3, 9, 9), np.float32))  # not the size the file takes
    done = subprocess.run(
        [*command, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")], capture_output=True, text=True, check=True
    )
    assert "takes pictures of 48x64 pixels only" in json.loads(done.stdout)["error"]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(HswishError, match=r"broken\.onnx: not an \.onnx model"):
        measure([Contender(path=broken, engine="onnxruntime", threads=1)], runs=1)


def test_picture_and_machine(files: tuple[Path, Path], tmp_path: Path) -> None:
    from dataclasses import replace

    (row,) = measure(contenders(files[1:], ["onnxruntime"], [1]), runs=1)
    with pytest.raises(OptionError, match="give --data"):
        latency_accuracy([row], tmp_path / "plot.png")
    latency_accuracy([replace(row, accuracy=0.9)], tmp_path / "plot.png")
    assert min(Image.open(tmp_path / "plot.png").size) > 300
    about = machine(["onnxruntime"])
    assert set(about) == {"processor", "cores", "system", "versions"}
    assert about["versions"]["onnxruntime"][0].isdigit()


def test_an_answer_that_changes_is_no_measurement(tmp_path: Path) -> None:
    """A model that answers differently every time, told to be timed."""
    np.save(tmp_path / "in.npy", np.zeros((1, 2), np.float32))
    code = (
        "import itertools, sys; from hswish.bench.worker import serve\n"
        "count = itertools.count()\n"
        "serve(lambda: lambda batch: batch + next(count), 'liar', *sys.argv[1:])"
    )
    process = Timed(
        title="liar",
        command=[sys.executable, "-c", code, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")],
        answer=tmp_path / "out.npy",
        threads=1,
    )
    with pytest.raises(HswishError, match=r"liar ended with status 1 .*gave another answer when it was timed"):
        take_turns([process], runs=1)


def test_what_a_contender_died_of_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the disk is on fire')"]
    with pytest.raises(HswishError, match=r"ended with status 1 while it was timed \(the disk is on fire\)"):
        take_turns([Timed(title="short", command=command, answer=tmp_path / "out.npy", threads=1)], runs=1)
