"""Benchmarks are a contract: they open with command, time and results, and `--json` keeps its fields."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

STARTUP = Path(__file__).resolve().parents[2] / "benchmarks" / "startup.py"


@pytest.fixture(scope="module")
def startup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("startup_benchmark", STARTUP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_opens_with_command_and_results(startup: ModuleType) -> None:
    assert "python -m benchmarks.startup" in startup.__doc__
    assert "Measured" in startup.__doc__


def test_rows_and_ratio(startup: ModuleType) -> None:
    ours = startup.Contender(name="ours", command=startup.python("pass"))
    slow = startup.Contender(name="slow", command=startup.python("import time; time.sleep(0.3)"), against="ours")
    rows = startup.measure((ours, slow), runs=1)
    assert [set(vars(row)) for row in rows] == [
        {"name", "median_ms", "min_ms", "max_ms", "runs", "against", "ratio"}
    ] * 2
    assert rows[0].ratio is None
    assert rows[1].ratio == pytest.approx(rows[1].median_ms / rows[0].median_ms, rel=0.02)
    assert rows[1].median_ms > 300
    assert "slow" in startup.table(rows)


def test_a_command_that_fails_is_no_result(startup: ModuleType) -> None:
    broken = startup.Contender(name="broken", command=startup.python("raise SystemExit(3)"))
    with pytest.raises(Exception, match="non-zero exit status 3"):
        startup.measure((broken,), runs=1)


def test_machine_and_versions(startup: ModuleType) -> None:
    assert set(startup.machine()) == {"cpu", "cores", "system"}
    assert {"python", "hswish", "torch"} <= set(startup.versions())
