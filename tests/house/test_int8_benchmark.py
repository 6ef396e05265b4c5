"""The int8 benchmark keeps its fields, and its ratio is what it says."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from benchmarks import int8


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "python -m benchmarks.int8" in (int8.__doc__ or "")
    monkeypatch.setattr(int8, "NETWORKS", {"mobilenet_v3_small": (32, 48)})
    (row,) = int8.rows("mobilenet_v3_small", ["onnx"], 1)
    assert (row.size, row.format, row.threads) == ("32x48", "onnx", 1)
    assert row.times_faster == pytest.approx(row.float_ms / row.int8_ms, rel=0.01)
