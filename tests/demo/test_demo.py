"""The demo: in half a minute whether it runs, and (only in `make test-all`) whether it reaches what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hswish

ROOT = Path(__file__).parents[2]


def run_demo(out: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--out", str(out), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_outputs(out: Path, words: str) -> dict[str, dict[str, float]]:
    names = ("mobilenet_v3_small.digits.safetensors", "lraspp_mobilenet_v3_small.digit-scenes.safetensors")
    for name in names:
        assert hswish.load(out / name).classes
        assert name in words
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 6  # curves, confusion, pictures, of both
    assert "<table>" in page
    assert len(list((out / "predictions/digit-scenes").glob("*.mask.png"))) == 12
    assert "hswish train" in words.splitlines()[-2], "the last lines say what to try next"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results.keys() == {"classification", "segmentation"}
    assert len(results["segmentation"]["per_class"]) == 11
    return results


@pytest.mark.slow
@pytest.mark.long
def test_it_runs(tmp_path: Path) -> None:
    results = check_outputs(tmp_path, run_demo(tmp_path, "--quick"))
    assert 0 <= results["classification"]["top1"] <= 1
    assert 0 <= results["segmentation"]["miou"] <= 1


@pytest.mark.slow
def test_it_reaches_what_it_promises(tmp_path: Path) -> None:
    environment = os.environ.pop("OMP_NUM_THREADS", None)
    try:
        results = check_outputs(tmp_path, run_demo(tmp_path))
    finally:
        if environment is not None:
            os.environ["OMP_NUM_THREADS"] = environment
    assert results["classification"]["top1"] >= 0.97
    assert results["segmentation"]["miou"] >= 0.60
