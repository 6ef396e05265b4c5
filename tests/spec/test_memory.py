from __future__ import annotations

from pathlib import Path

import pytest

from hswish.spec import memory


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None = None, used: int = 0) -> None:
    """A machine of 1000 kB, and a container that may take `limit` bytes."""
    (tmp_path / "meminfo").write_text("MemTotal:  4000 kB\nMemAvailable:   1000 kB\n")
    (tmp_path / "stat").write_text("anon 77\ninactive_file 5000\n")
    files = [tmp_path / name for name in ("limit", "used", "stat")]
    if limit is not None:
        files[0].write_text(limit)
        files[1].write_text(str(used))
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINER", (tuple(files), tuple(tmp_path / "none" for _ in range(3))))


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [
        (None, 0, 1_024_000),
        ("max\n", 0, 1_024_000),
        ("900000\n", 700_000, 205_000),  # what is cached can be had
        ("900000\n", 990_000, 0),
        (str(2**63), 1, 1_024_000),
    ],
)
def test_the_tighter_of_machine_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, used: int, expected: int
) -> None:
    machine(tmp_path, monkeypatch, limit, used)
    assert memory.free_bytes() == expected


def test_nobody_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, monkeypatch)
    for content in (b"", b"MemAvailable:\n", b"MemAvailable: many kB\n", b"\xff"):
        (tmp_path / "meminfo").write_bytes(content)
        assert memory.free_bytes() is None
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "gone")
    assert memory.free_bytes() is None


def test_this_machine() -> None:
    free = memory.free_bytes()
    assert free is None or free > 2**20
