"""Writing aside: what stood there before survives everything, and nothing is left over."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hswish.spec.errors import SaveError
from hswish.spec.files import append_line, expanded, explain_os_error, write_aside, write_json, write_text


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    path.write_text("old")
    return path


def untouched(path: Path) -> bool:
    """The old text is there and the folder holds nothing else."""
    return path.read_text() == "old" and [entry.name for entry in path.parent.iterdir()] == [path.name]


def write_half(path: Path, error: BaseException) -> None:
    with write_aside(path) as aside:
        aside.write_text("half")
        raise error


def test_replaces_in_one_step(old: Path) -> None:
    with write_aside(old) as aside:
        aside.write_text("new")
        assert old.read_text() == "old"
        assert aside.parent == old.parent  # a rename across file systems is no rename
    assert old.read_text() == "new"
    assert len(list(old.parent.iterdir())) == 1


def test_makes_missing_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "text ü")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "text ü".encode()


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"top1": 0.5, "name": "Straße"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"top1": 0.5, "name": "Straße"}


@pytest.mark.parametrize("error", [ValueError("a"), KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_keeps_the_old_file_and_goes_through(old: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_half(old, error)
    assert untouched(old)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "not writable"),
        (errno.EIO, "input/output error"),
    ],
)
def test_an_error_while_writing(old: Path, code: int, said: str) -> None:
    with pytest.raises(SaveError, match=said) as caught:
        write_half(old, OSError(code, os.strerror(code)))
    assert str(old) in str(caught.value)
    assert untouched(old)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_at_the_last_moment(old: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SaveError, match="the disk is full"):
        write_text(old, "new")
    monkeypatch.undo()
    assert untouched(old)


def test_a_body_that_renames_or_removes_its_file(old: Path) -> None:
    with pytest.raises(SaveError), write_aside(old) as aside:
        aside.unlink()
    assert untouched(old)


def test_a_real_limit_on_file_size(old: Path) -> None:
    """The kernel refuses the write half way through, as a full disk does."""
    script = """if True:
        import resource, signal, sys
        from hswish.spec.errors import SaveError
        from hswish.spec.files import write_text
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_text(sys.argv[1], "x" * 100_000)
        except SaveError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", script, str(old)], capture_output=True, text=True, check=True)
    assert "cannot save" in done.stdout
    assert "too large" in done.stdout
    assert untouched(old)


def test_a_killed_process_keeps_the_old_file(old: Path) -> None:
    script = """if True:
        import os, signal, sys
        from hswish.spec.files import write_aside
        with write_aside(sys.argv[1]) as aside:
            aside.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", script, str(old)], check=False)
    assert done.returncode < 0
    assert old.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device() -> None:
    with pytest.raises(SaveError, match="the disk is full"):
        append_line("/dev/full", "line")


# --- Places that cannot be written ---------------------------------------------------------


def test_below_a_regular_file(old: Path) -> None:
    with pytest.raises(SaveError, match="a file stands where a folder is needed"):
        write_text(old / "below" / "a.txt", "text")
    with pytest.raises(SaveError, match="a file stands where a folder is needed"):
        write_text(old / "a.txt", "text")
    assert untouched(old)


def test_onto_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(SaveError, match="directory"):
        write_text(tmp_path / "out", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_unwritable_folder(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the call, not by permission bits, which do not bind root."""

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SaveError, match="not writable; choose another one"):
        write_text(old, "new")
    monkeypatch.undo()
    assert untouched(old)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_file_system_that_takes_no_files() -> None:
    with pytest.raises(SaveError, match="cannot save /proc/"):
        write_text("/proc/hswish/a.txt", "text")


def test_append_line(tmp_path: Path) -> None:
    append_line(tmp_path / "log.jsonl", '{"epoch": 1}')
    append_line(tmp_path / "log.jsonl", '{"epoch": 2}')
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    with pytest.raises(SaveError, match="cannot write"):
        append_line(tmp_path / "missing" / "log.jsonl", "line")


def test_causes_in_words() -> None:
    assert "disk is full" in explain_os_error(OSError(errno.ENOSPC, "x"))
    assert "not writable" in explain_os_error(OSError(errno.EACCES, "x"))
    assert explain_os_error(OSError(errno.EIO, "Input/output error")) == "input/output error"
    assert explain_os_error(OSError("Odd")) == "odd"


# --- Permissions, names, threads -----------------------------------------------------------


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_the_umask_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to every thread: two that ask for it by setting it can leave it at 0."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("umask was set"))
    write_text(tmp_path / "a.txt", "text")


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".json")  # 245 bytes
    write_text(path, "text")
    assert path.read_text() == "text"


def test_parallel_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path, barrier = tmp_path / "shared.txt", threading.Barrier(8)
    texts = [str(index) * 50_000 for index in range(8)]

    def write(text: str) -> None:
        barrier.wait()
        for _ in range(5):
            write_text(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, texts))
    assert path.read_text() in texts
    assert [entry.name for entry in tmp_path.iterdir()] == ["shared.txt"]


def test_a_home_that_is_not_there_is_left_as_it_is() -> None:
    assert expanded("~/x") == Path.home() / "x"
    assert expanded("~nosuchuser/x") == Path("~nosuchuser/x")
    assert expanded(Path("a/~b")) == Path("a/~b")
