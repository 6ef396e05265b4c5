"""Exported files that are none, through the command line in a process of its own: one line, whatever runs it.

A runtime's own words go past Python to standard error, so only another process shows them all. One process takes all
files of a runtime in turn, for loading the runtime takes longer than refusing a file.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import environment
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
ONE_BY_ONE = """
import json, os, sys
from hswish.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        sys.stderr.flush()
        os.write(2, f"{chr(0)}{end.code}{chr(0)}".encode())
"""
"""Commands in one process; after the words of each its exit status between two zeros."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(folder / "pic.jpg")
    return folder


def predict(models: list[Path], picture: Path, *options: str) -> list[tuple[int, str]]:
    """Exit status and words on standard error of each."""
    commands = [["predict", str(model), str(picture), *options] for model in models]
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps(commands)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    *parts, rest = done.stderr.split("\0")
    assert not rest, rest
    return [(int(status), words) for words, status in zip(parts[::2], parts[1::2], strict=True)]


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


def assert_one_line(status: int, words: str, model: Path, kind: str) -> None:
    assert status == 2, (kind, words)
    lines = words.splitlines()
    assert len(lines) == 1, (kind, words)
    assert lines[0].startswith(f"error: {model}: "), (kind, lines)


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
    answers = predict(list(models.values()), files / "pic.jpg", *options)
    for (kind, model), (status, words) in zip(models.items(), answers, strict=True):
        assert_one_line(status, words, model, kind)
