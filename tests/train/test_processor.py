"""What a training process asks of the computer."""

from __future__ import annotations

import resource
import subprocess
import sys

PROGRAM = """
import resource, sys

if sys.argv[1] == "keep":
    from hswish.train.processor import keep_memory
    assert keep_memory()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_blocks_are_not_handed_back_and_cleared_again() -> None:
    """Ten blocks of 40 MiB: 10,240 pages each time, unless the block stays."""
    assert resource.getpagesize() == 4096
    assert faults("default") > 10 * 10_000
    assert faults("keep") < 10_000
