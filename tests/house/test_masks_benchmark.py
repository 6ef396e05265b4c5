"""benchmarks/masks.py: its makers give one mask, and each is timed."""

from __future__ import annotations

import pytest

from benchmarks import masks


def test_opens_with_its_command() -> None:
    assert "python -m benchmarks.masks" in (masks.__doc__ or "")


def test_makers_are_timed_on_the_same_logits() -> None:
    row = masks.measure(3, (16, 24), (30, 50), rounds=1)
    assert (row.logits, row.picture) == ("16x24", "30x50")
    assert row.numpy_ms > 0
    assert row.torch_ms > 0
    assert row.compiled_ms is None or row.compiled_ms > 0


def test_another_mask_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "in_torch", lambda logits, size: masks.in_numpy(-logits, size))
    with pytest.raises(AssertionError, match="torch: another mask"):
        masks.measure(3, (16, 24), (30, 50), rounds=1)
