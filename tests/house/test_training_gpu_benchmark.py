"""The GPU's training benchmark, on the CPU: its turns, its fields, and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from benchmarks import training_gpu as bench  # noqa: E402

TINY = replace(bench.CASES[-1], batch_size=2, options=(("keep_size", 2), ("width_mult", 0.35)))


def test_turns_and_fields() -> None:
    rows = bench.measure(TINY, rounds=2, steps=1, device=torch.device("cpu"))
    assert [row.contender for row in rows] == ["torch", "hswish"]
    assert set(asdict(rows[0])) == {"case", "contender", "pictures_per_second", "least", "most", "ratio"}
    assert all(0 < row.least <= row.pictures_per_second <= row.most for row in rows)
    assert "small-32" in bench.table(rows)


def test_a_loss_that_is_not_finite_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> dict[str, bench.Step]:
        return {"timm": lambda: 1.0, "hswish": lambda: math.nan}

    monkeypatch.setattr(bench, "contenders", broken)
    with pytest.raises(ArithmeticError, match="small-32, hswish"):
        bench.measure(TINY, rounds=1, steps=1, device=torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a GPU")
def test_without_a_gpu_one_line_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.training_gpu"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no GPU" in done.stderr
    assert "Traceback" not in done.stderr
