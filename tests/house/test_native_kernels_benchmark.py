"""The kernels' benchmark times what the lists of kernels hold, on each instruction set that has kernels of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import native_kernels
from hswish.runtime.native.library import library

pytest.importorskip("hswish.runtime.native._engine")

REPOSITORY = Path(__file__).parents[2]
SIZES = {"block_work", "stem_work", "int8_block_work"}
"""entries of the lists that say how much memory a kernel wants"""


def test_opens_with_its_command() -> None:
    assert native_kernels.__doc__ is not None
    assert "python -m benchmarks.native_kernels" in native_kernels.__doc__


def test_every_kernel_in_the_lists_has_a_row() -> None:
    kernels = library("a test").kernels
    listed = {
        kernel
        for name in ("kernels.h", "masks.h", "int8_kernels.h")
        for kernel in re.findall(r"\(\*(\w+)\)", (REPOSITORY / "native" / name).read_text(encoding="utf-8"))
    }
    works = [
        *native_kernels.float_kernels(kernels),
        *native_kernels.mask_kernels(kernels),
        *native_kernels.int8_kernels(kernels),
        *native_kernels.bf16_kernels(kernels),
    ]
    assert {work.kernel for work in works} == listed - SIZES


def test_each_runs_on_each_instruction_set_and_counts_its_work() -> None:
    works = native_kernels.works(library("a test"))
    rows = [row for work, levels in works for row in native_kernels.measure(work, levels, 1)]
    assert len(rows) == sum(len(levels) for _, levels in works)
    assert all(row.us > 0 for row in rows)
    shown = next(row for row in rows if (row.kernel, row.precision) == ("pointwise", "float32"))
    assert shown.gmacs == pytest.approx(3136 * 72 * 24 / shown.us / 1000, rel=0.02)
    table = native_kernels.table(rows)
    assert all(row.shape in table for row in rows)
    assert all(row.level in table for row in rows)


def test_as_json() -> None:
    command = [sys.executable, "-m", "benchmarks.native_kernels", "--kernel", "to_bytes", "--runs", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["kernel"] for row in rows} == {"to_bytes"}
    assert rows[0]["level"] == "generic"
