"""Exported files that are none, through the command line in a process of its own: one line, whatever runs it.

A runtime's own words go past Python to standard error, so only another process shows them all.
"""

from __future__ import annotations

import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import command, environment
from tests.contract.runtime import written

RUNTIMES = [
    ("onnx", None, "onnx"),
    ("onnx", "openvino", "openvino"),
    ("openvino", None, "openvino"),
    ("litert", None, "ai_edge_litert"),
    ("executorch", None, "executorch"),
    ("ncnn", None, "ncnn"),
    ("coreml", None, "coremltools"),
]
"""format, engine asked for, package"""
PROGRAM = struct.pack("<I4s4sIQQQ", 60, b"ET12", b"eh00", 32, 3000, 3008, 2000) + bytes(range(250)) * 20
"""What is a `.pte` by its header only."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(folder / "pic.jpg")
    return folder


def predict(model: Path, picture: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("predict", model, picture, *options),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment(),
        timeout=120,
    )


def spoilt(content: bytes) -> dict[str, bytes]:
    zeros = content[:12] + bytes(max(0, len(content) - 12))
    return {
        "text": b"no model here\n",
        "other xml": b'<?xml version="1.0"?><html><body/></html>',
        "empty": b"",
        "begun": content[:10],
        "half": content[: len(content) // 2],
        "without its end": content[:-100],
        "begun, then zeros": zeros,
    }


def assert_one_line(done: subprocess.CompletedProcess[str], model: Path, kind: str) -> None:
    assert done.returncode == 2, (kind, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, (kind, done.stderr)
    assert lines[0].startswith(f"error: {model}: "), (kind, lines)
    assert not done.stdout


@pytest.mark.parametrize(("format", "engine", "package"), RUNTIMES)
def test_a_junk_model_is_one_line(format: str, engine: str | None, package: str, files: Path, tmp_path: Path) -> None:
    pytest.importorskip(package)
    if format == "coreml":  # a folder in truth
        made, content, beside = Path("m.mlpackage"), b"", {}
    elif format == "executorch":  # writing a real one takes half a minute
        made, content, beside = Path("m.pte"), PROGRAM, {}
    else:
        good = written(format, files, "mobilenet_v3_small")
        made, content = Path(good.name), good.read_bytes()
        beside = {file.name: file.read_bytes() for file in good.parent.glob(f"{good.stem}.*") if file != good}
    models = {}
    for number, (kind, data) in enumerate(spoilt(content).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / made.name).write_bytes(data)
        for name, whole in beside.items():
            (folder / name).write_bytes(whole)
        models[kind] = folder / made.name
    options = ("--engine", engine) if engine else ()
    with ThreadPoolExecutor(2) as pool:
        for kind, done in zip(
            models, pool.map(lambda model: predict(model, files / "pic.jpg", *options), models.values()), strict=True
        ):
            assert_one_line(done, models[kind], kind)
