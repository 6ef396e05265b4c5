"""One process at a time in a folder; whoever dies, however it dies, hinders nobody."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hswish.spec.errors import SaveError
from hswish.spec.folder_lock import alone_in

HOLDER = """
import os, sys, time
from pathlib import Path
from hswish.spec.folder_lock import alone_in
with alone_in(Path(sys.argv[1]), ".lock", "thing"):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_one_at_a_time_and_nothing_stays(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            alone_in(tmp_path, ".lock", "thing"),
            pytest.raises(SaveError, match=rf"{tmp_path}: another thing \(process {os.getpid()} on .*stop it first"),
            alone_in(tmp_path, ".lock", "thing"),
        ):
            pass
        assert not list(tmp_path.iterdir())


def test_a_killed_process_frees_it_though_its_child_lives(tmp_path: Path) -> None:
    """As loading processes do, for some seconds."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        time.sleep(0.2)  # the child lets go
        with pytest.raises(SaveError, match=f"process {holder.pid} on"), alone_in(tmp_path, ".lock", "thing"):
            pass
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        assert (tmp_path / ".lock").exists()
        with alone_in(tmp_path, ".lock", "thing"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_child_that_ends_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    with alone_in(tmp_path, ".lock", "thing"):
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(SaveError), alone_in(tmp_path, ".lock", "thing"):
            pass


def test_a_file_system_without_locks_or_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*about: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_in(tmp_path, ".lock", "thing"):
        pass

    def full(*about: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(SaveError, match="the disk is full"), alone_in(tmp_path, ".lock", "thing"):
        pass
