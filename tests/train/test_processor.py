"""What a training process asks of the computer."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hswish.train import Recipe, Reporter, train
from hswish.train.processor import has_bfloat16

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


def test_bfloat16_is_for_processors_with_vectors_of_512_bits() -> None:
    """On x86; below that torch convolves halves number by number."""
    flags = Path("/proc/cpuinfo").read_text().split()
    if "avx2" in flags:
        assert has_bfloat16() == ("avx512bw" in flags)


@pytest.mark.parametrize(("held", "threads"), [(False, 2), (True, 4)])
def test_cores_are_left_to_the_loaders_where_there_are_any(
    held: bool, threads: int, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pictures that are decoded in every epoch need half of the cores; held ones need none."""
    seen = set()

    class Threads(Reporter):
        def step(self, pictures: int, loss: float, lr: float) -> None:
            seen.add(torch.get_num_threads())

    monkeypatch.setattr("hswish.train.processor.available_cores", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        recipe = Recipe(epochs=1, batch_size=12, height=32, held=held)
        train(
            colours,
            "mobilenet_v3_small",
            out=tmp_path / "run",
            recipe=recipe,
            reporter=Threads(),
            workers=0,
            width_mult=0.35,
        )
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}
