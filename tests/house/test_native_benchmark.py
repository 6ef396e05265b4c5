"""The native engine's benchmark is a contract too: its fields, its checks, its figures that hang together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import native
from benchmarks.native_peers import PEERS, AbsentError, Case, open_peer
from hswish.runtime.native.library import LEVEL_VARIABLE

pytest.importorskip("hswish.runtime.native._engine")


@pytest.fixture(scope="module")
def small() -> Case:
    """The network of small-224 at a size that takes no time."""
    return Case(name="small-64", model=native.prepared("small-224").model, height=64, width=64)


def test_opens_with_its_command() -> None:
    assert native.__doc__ is not None
    assert "python -m benchmarks.native" in native.__doc__
    assert set(native.CASES) == {"large-224", "small-224", "lraspp-large-512x1024"}


def test_rows(small: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_peer(case: Case, folder: Path, threads: int) -> native.Run:
        run = native.native(case, folder, threads)[1]
        return lambda x: [run(x) for _ in range(3)][-1]

    def absent(case: Case, folder: Path, threads: int) -> native.Run:
        raise AbsentError("on holiday")

    monkeypatch.setitem(PEERS, "slow", ("numpy", slow_peer))
    monkeypatch.setitem(PEERS, "absent", ("numpy", absent))
    row = native.measure(small, ["absent", "slow"], tmp_path, threads=1, runs=15)
    wanted = {"case", "precision", "threads", "engine_ms", "best_peer", "best_peer_ms", "ratio", "peers_ms"}
    assert {field.name for field in fields(row)} == wanted
    assert (row.best_peer, list(row.peers_ms)) == ("slow", ["slow"])
    assert row.best_peer_ms is not None
    assert row.ratio == pytest.approx(row.best_peer_ms / row.engine_ms, rel=0.01)
    assert row.ratio > 1.5
    assert "slow" in native.table([row])
    native.plot([row], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_with_several_threads_each_peer_is_timed_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command[command.index("--peer") + 1 :])
        peer = asked[-1][0]
        ms = {"quick": 3.0, "slow": 9.0}.get(peer)
        row = {"case": "small-224", "precision": "float32", "threads": 2, "engine_ms": 2.0, "best_peer": ms and peer}
        row |= {"best_peer_ms": ms, "ratio": ms and ms / 2, "peers_ms": {peer: ms} if ms else {}}
        return subprocess.CompletedProcess(command, peer == "broken", json.dumps([row]))

    monkeypatch.setattr(subprocess, "run", run)
    row = native.measure_in_pairs("small-224", ["slow", "quick", "absent"], tmp_path, 2, 5, "float32")
    assert asked == [["slow"], ["quick"], ["absent"]]
    assert (row.best_peer, row.ratio, row.peers_ms) == ("quick", 1.5, {"slow": 9.0, "quick": 3.0})
    with pytest.raises(SystemExit, match="small-224, float32: timing broken failed"):
        native.measure_in_pairs("small-224", ["broken"], tmp_path, 2, 5, "float32")


def test_with_several_threads_a_turn_begins_untimed_and_is_several_calls(
    small: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(case: Case, folder: Path, threads: int) -> native.Run:
        run = native.native(case, folder, threads)[1]
        return lambda x: (calls.append(threads), run(x))[1]

    monkeypatch.setitem(PEERS, "counted", ("numpy", counted))
    monkeypatch.setattr(native, "SETTLING", 0.0)
    native.measure(small, ["counted"], tmp_path, threads=2, runs=2 * native.CALLS)
    assert calls == [2] * (2 + 3) * native.CALLS  # three turns are thrown away
    monkeypatch.setattr(native, "SETTLING", 0.05)
    native.measure(small, ["counted"], tmp_path, threads=2, runs=2 * native.CALLS)
    assert len(calls) > 2 * (2 + 3) * native.CALLS


def test_rows_in_8_bits(small: Case, tmp_path: Path) -> None:
    row = native.measure(small, ["onnxruntime", "ncnn"], tmp_path, threads=1, runs=3, precision="int8")
    assert (row.precision, list(row.peers_ms)) == ("int8", ["onnxruntime"])
    with pytest.raises(SystemExit, match="like the network's by"):
        native.check("a liar", np.arange(10), np.array([1, -1] * 5), "int8")


def test_rows_in_bfloat16(small: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.computable(["bfloat16"]):
        pytest.skip("this processor does not multiply bfloat16")
    row = native.measure(small, ["openvino", "onnxruntime"], tmp_path, threads=1, runs=3, precision="bfloat16")
    assert (row.precision, set(row.peers_ms)) == ("bfloat16", {"openvino", "onnxruntime"})
    with pytest.raises(SystemExit, match="like the network's by"):
        native.check("a liar", np.arange(10) ** 2, np.arange(10), "bfloat16")


def test_a_precision_that_the_processor_has_not(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "generic")
    assert native.computable(["float32", "bfloat16", "int8"]) == ["float32", "int8"]
    assert capsys.readouterr().err == "without bfloat16: generic does not multiply it here\n"


def test_a_wrong_answer_ends_it(small: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        PEERS, "liar", ("numpy", lambda case, folder, threads: lambda x: np.ones((1, 1000), np.float32))
    )
    with pytest.raises(SystemExit, match="liar: its answer is off"):
        native.measure(small, ["liar"], tmp_path, threads=1, runs=1)


def test_a_package_that_is_missing_is_named(small: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "rocket", ("rocket_engine", PEERS["ncnn"][1]))
    with pytest.raises(AbsentError, match="rocket_engine is not installed"):
        open_peer("rocket", small, tmp_path, 1)


def test_steps_hang_together(small: Case, tmp_path: Path) -> None:
    rows = native.steps(small, tmp_path, runs=3)
    assert [row.name for row in rows][:2] == ["backbone.blocks.0", "backbone.blocks.1"]  # the stem is inside
    assert all(row.ms >= 0 for row in rows)
    assert sum(row.megabytes for row in rows) > 4 * 2.5  # the weights alone
    assert "backbone.last" in native.step_table(rows)


def test_as_json() -> None:
    command = [sys.executable, "-m", "benchmarks.native", "--case", "small-224", "--peer", "--runs", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["case"], row["precision"], row["threads"]) for row in rows] == [
        ("small-224", precision, 1) for precision in native.computable(["float32", "bfloat16", "int8"])
    ]
