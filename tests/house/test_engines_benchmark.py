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
    assert [row.name for row in rows] == ["hswish eager", "onnxruntime, .onnx"]
    assert {field.name for field in fields(engines.Row)} >= {"cold_ms", "median_ms", "p95_ms", "memory_bytes", "bytes"}
    for row in rows:
        assert 0 < row.median_ms <= row.p95_ms < row.cold_ms
        assert row.runs == 2
    assert rows[0].difference == 0 < rows[1].difference < 1e-4
    assert json.loads(json.dumps([vars(row) for row in rows]))[0]["case"] == tiny
    assert engines.table([replace(row, case="large-224") for row in rows]).count("\n") == 3


def row_of(name: str, median_ms: float, case: str = "large-224") -> engines.Row:
    return engines.Row(
        case=case,
        name=name,
        threads=1,
        cold_ms=200.4,
        median_ms=median_ms,
        p95_ms=2 * median_ms,
        runs=9,
        memory_bytes=52_000_000,
        bytes=1,
        difference=0.0,
    )


def test_the_document_shows_what_is_printed() -> None:
    rows = [row_of("hswish eager", 40.0), row_of("torchvision eager", 36.0), row_of("native, .safetensors", 9.0)]
    header, rule, first, *others = engines.table(rows).splitlines()
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"\n{header}\n{rule}\n" in page
    assert first == "| native, .safetensors | 9.00 | 18.00 | 200 | 52 | 4.0 |"
    assert [line.rsplit("|", 2)[1].strip() for line in others] == ["1.0", "0.9"]


def test_without_torchvision_the_table_compares_with_ours() -> None:
    assert engines.table([row_of("hswish eager", 40.0)]).splitlines()[0].endswith("| hswish eager / it |")


def test_each_case_has_a_table_of_its_own() -> None:
    text = engines.tables([row_of("hswish eager", 40.0), row_of("hswish eager", 4.0, "small-224")])
    assert text.count("| 1.0 |") == text.count("/ it |") == 2
    assert "**small-224**, 1 thread, float32:" in text


def python_with(tmp_path: Path, **modules: str) -> str:
    """A Python that finds these modules first."""
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


WORKS, BROKEN = "__version__ = '9'\n", "raise RuntimeError('operator torchvision::nms does not exist')\n"


def test_peers_are_looked_at_before_anything_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "measured", lambda *_: pytest.fail("it was measured all the same"))
    broken = python_with(tmp_path, torchvision=BROKEN, timm=BROKEN)
    for python, reason in (
        ("/nonexistent/python", "No such file or directory"),
        ("/bin/false", "no Python that works"),
        (broken, "torchvision does not load (RuntimeError: operator torchvision::nms does not exist); timm does not"),
    ):
        with pytest.raises(SystemExit) as ended:
            engines.main(["--peers", python])
        said = capsys.readouterr().err
        assert ended.value.code == 1
        assert said.count("\n") == 1
        assert f"--peers {python}: {reason}" in said
        assert "python3 -m venv ENV" in said
        assert "torchvision==" in said


def test_a_peer_that_does_not_load_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simple = dict.fromkeys(("numpy", "safetensors", "torch"), WORKS)
    found = engines.look_at(python_with(tmp_path, **simple, torchvision=BROKEN, timm=WORKS))
    assert found == {"torch": "9", "timm": "9"}
    assert "torchvision does not load" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no such operator')", "no such operator"),
        ("""print('{"cold_ms": 1}', flush=True); raise SystemExit('out of luck')""", "out of luck"),
    ],
    ids=["at the start", "while it is timed"],
)
def test_a_contender_that_fails_leaves_the_others_their_rows(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, reason: str
) -> None:
    good = engines.torch_entry(tiny, "hswish", "eager", 1, sys.executable, tmp_path)
    other = engines.torch_entry(tiny, "hswish", "channels_last", 1, sys.executable, tmp_path)
    command = [sys.executable, "-c", code]
    bad = replace(good, name="timm eager", process=replace(good.process, title="timm eager", command=command))
    rows = engines.measure(tiny, [good, bad, other], 1, 2)
    assert [(row.name, row.runs) for row in rows] == [("hswish eager", 2), ("hswish channels_last", 2)]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "tiny, timm eager is left out: timm eager ended with status 1" in said
    assert reason in said


def test_a_peer_whose_answer_is_off_leaves_the_others_their_rows(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = engines.torch_entry(tiny, "hswish", "eager", 1, sys.executable, tmp_path)
    np.save(good.process.answer, np.array([[1.0, 2.0]], np.float32))
    off = tmp_path / "off.npy"
    np.save(off, np.array([[2.0, 3.0]], np.float32))
    bad = replace(good, name="timm eager", process=replace(good.process, answer=off))
    monkeypatch.setattr(
        engines, "take_turns", lambda processes, runs: [process.spent_ms.append(1.0) for process in processes]
    )
    assert [row.name for row in engines.measure(tiny, [good, bad], 1, 1)] == ["hswish eager"]
    assert "timm eager: its logits differ from torch's by 1; it is left out" in capsys.readouterr().err


def test_an_answer_that_is_off_ends_the_benchmark(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = engines.torch_entry(tiny, "hswish", "eager", 1, sys.executable, tmp_path)
    other = engines.torch_entry(tiny, "hswish", "channels_last", 1, sys.executable, tmp_path)
    monkeypatch.setattr(
        engines, "take_turns", lambda processes, runs: [process.spent_ms.append(1.0) for process in processes]
    )
    for entry, offset in ((good, 0.0), (other, 1.0)):
        np.save(entry.process.answer, np.array([[1.0, 2.0]], np.float32) + np.float32(offset))
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
