"""The benchmark of engines is a contract too: its fields, its checks, and peers that load our weights."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import engines
from hswish.spec.errors import HswishError

pytest.importorskip("onnx")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A case that takes no time."""
    monkeypatch.setitem(engines.CASES, "tiny", ("mobilenet_v3_small", {"width_mult": 0.35, "num_classes": 5}, 64, 64))
    return "tiny"


def test_opens_with_its_command() -> None:
    assert engines.__doc__ is not None
    assert "python -m benchmarks.engines" in engines.__doc__
    assert "Measured" in engines.__doc__


def test_rows(tiny: str, tmp_path: Path) -> None:
    entries = [engines.torch_entry(tiny, "hswish", "eager", 1, sys.executable, tmp_path)]
    entries += [
        entry for entry in engines.file_entries(tiny, ["onnx"], 1, tmp_path, []) if entry.name.startswith("onnx")
    ]
    rows = engines.measure(tiny, entries, 1, 2)
    assert [row.name for row in rows] == ["hswish eager", "onnxruntime .onnx"]
    assert {field.name for field in fields(engines.Row)} >= {"cold_ms", "median_ms", "p95_ms", "memory_bytes", "bytes"}
    for row in rows:
        assert 0 < row.median_ms <= row.p95_ms < row.cold_ms
        assert row.runs == 2
    assert rows[0].difference == 0 < rows[1].difference < 1e-4
    assert json.loads(json.dumps([vars(row) for row in rows]))[0]["case"] == tiny
    assert engines.table([replace(row, case="large-224") for row in rows]).count("\n") == 3


def test_an_answer_that_is_off_ends_the_benchmark(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = engines.torch_entry(tiny, "hswish", "eager", 1, sys.executable, tmp_path)
    other = engines.torch_entry(tiny, "hswish", "channels_last", 1, sys.executable, tmp_path)
    monkeypatch.setattr(engines, "take_turns", lambda processes, runs: None)
    for entry, offset in ((good, 0.0), (other, 1.0)):
        np.save(entry.process.answer, np.array([[1.0, 2.0]], np.float32) + np.float32(offset))
        entry.process.spent_ms.append(1.0)
    with pytest.raises(HswishError, match="hswish channels_last: its logits differ from torch's by 1"):
        engines.measure(tiny, [good, other], 1, 1)


def test_peers_get_the_same_weights(tmp_path: Path) -> None:
    """What torchvision and timm are started with: their own name for the network, and weights by their names."""
    for library, name, layer in (
        ("torchvision", "mobilenet_v3_small", "features.0.0.weight"),
        ("timm", "mobilenetv3_small_100", "conv_stem.weight"),
    ):
        entry = engines.torch_entry("small-224", library, "eager", 1, "python", tmp_path)
        assert name in entry.process.command
        weights = next(part for part in entry.process.command if part.endswith(".safetensors"))
        from safetensors.numpy import load_file

        stem = engines.prepared("small-224").state_dict()["backbone.stem.conv.weight"].numpy()
        np.testing.assert_array_equal(load_file(weights)[layer], stem)
