"""Ctrl-C and SIGTERM: the run is kept, the way on is told, and going on loses nothing, not a bit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import hswish
from tests.cli.conftest import QUICK, command, environment, noise

EPOCHS = 12
PATIENCE_S = 60


@pytest.fixture(scope="module")
def uninterrupted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hswish.cli import run

    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run([str(argument) for argument in arguments(made, out)]) == 0
    return out


def arguments(made: Path, out: Path) -> tuple[object, ...]:
    return ("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "--epochs", EPOCHS, "-o", out)


def start(*words: object, cwd: Path, code: str | None = None) -> subprocess.Popen[bytes]:
    """A process group of its own, as a terminal makes one for a command; `code` in place of the command line's."""
    return subprocess.Popen(
        command(*words) if code is None else [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(),
        start_new_session=True,
    )


def wait_for(stream, pattern: str) -> str:
    """Lines of a pipe until one of them matches."""
    until, seen = time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < until and (line := stream.readline().decode()):
        seen += line
        if re.search(pattern, line):
            return seen
    raise AssertionError(f"no {pattern!r} in: {seen}")


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[str, str]:
    """Send the signal to the whole group, as Ctrl-C does; what the process said after it."""
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE_S)
    return out.decode(), err.decode()


LOADING = """
import os, sys, time
from importlib.machinery import ExtensionFileLoader
from hswish.cli import app, main
number = int(sys.argv.pop(1))
class Compiled(ExtensionFileLoader):
    def exec_module(self, module):
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        print("loaded", flush=True)
def command(*words, **options):
    Compiled("name", "path").exec_module(None)
    time.sleep(10)
    print("done")
app.app = command
main()
"""
"""A command whose signal comes while a module of C++, here a stand-in, runs Python code."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_compiled_module_is_loaded_first(number: signal.Signals, tmp_path: Path) -> None:
    """An exception in there would come to C++, which ends the process with words of its own."""
    out, err = start(number.value, cwd=tmp_path, code=LOADING).communicate(timeout=PATIENCE_S)
    assert (out.decode(), err.decode()) == ("loaded\n", "error: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_training_is_stopped_and_resumed(
    number: int, made: Path, uninterrupted: Path, tmp_path: Path, hswish_cli
) -> None:
    out = tmp_path / "run"
    process = start(*arguments(made, out), cwd=tmp_path)
    wait_for(process.stderr, "^epoch 2/")
    _, err = stop(process, number)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert re.search(rf"interrupted at epoch \d+, step \d .*; go on with: hswish train --resume {out}$", line)
    assert (out / "last.ckpt").is_file()
    assert len((out / "metrics.jsonl").read_text().splitlines()) < EPOCHS
    hswish_cli("train", "--resume", out).success()
    assert_same_run(out, uninterrupted)


def assert_same_run(one: Path, other: Path) -> None:
    first, second = load_file(one / "best.safetensors"), load_file(other / "best.safetensors")
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    metrics = [hswish.load(run / "best.safetensors").description.metrics for run in (one, other)]
    assert metrics[0] == metrics[1]
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    for row in rows[0] + rows[1]:
        del row["seconds"], row["pictures_per_second"]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_prediction_is_stopped(number: int, made: Path, classifier: Path, tmp_path: Path) -> None:
    process = start("predict", classifier, *[made / "pictures"] * 2000, cwd=tmp_path)
    wait_for(process.stdout, "cat|dog")
    _, err = stop(process, number)
    assert (process.returncode, err) == (2, "error: interrupted\n")


SLOWLY = """
import time
import hswish.export.pipeline as pipeline
pipeline.prove = lambda *about, **options: print("proving", flush=True) or time.sleep(60)
from hswish.cli import main
main()
"""


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 3)])
def test_an_export_leaves_nothing_behind(number: int, times: int, made: Path, classifier: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    out = tmp_path / "out"
    words = ("export", classifier, "-f", "onnx", "--data", made / "pictures", "--pictures", 1, "-o", out)
    process = start(*words, cwd=tmp_path, code=SLOWLY)
    wait_for(process.stdout, "proving")
    assert [path.name[:8] for path in out.iterdir()] == [".export-"]
    for _ in range(times - 1):
        os.killpg(process.pid, number)
    _, err = stop(process, number)
    assert (process.returncode, err.splitlines()[-1]) == (2, "error: interrupted")
    assert "Traceback" not in err
    assert not list(out.iterdir())


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_is_stopped(workers: int, classifier: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("cat", "dog"):
        (data / name).mkdir(parents=True)
    noise(0, 1200, 1200).save(data / "cat" / "00.jpg")
    for number in range(1, 3000):
        os.link(data / "cat" / "00.jpg", data / ("cat", "dog")[number % 2] / f"{number}.jpg")
    process = start("eval", classifier, data, "--workers", workers, "--batch-size", 2, cwd=tmp_path)
    wait_for(process.stderr, "no splits")
    time.sleep(1.0)
    _, err = stop(process)
    shutil.rmtree(data)
    assert (process.returncode, err) == (2, "error: interrupted\n")


def test_a_slow_address_holds_nobody_up(classifier: Path, tmp_path: Path) -> None:
    """A picture of which a byte comes now and then, and never the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = threading.Event()

        def answer() -> None:
            with contextlib.suppress(OSError):
                line, _ = server.accept()
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                asked.set()
                while True:
                    line.sendall(b"x")
                    time.sleep(0.2)

        threading.Thread(target=answer, daemon=True).start()
        process = start("predict", classifier, f"http://127.0.0.1:{server.getsockname()[1]}/a.png", cwd=tmp_path)
        assert asked.wait(PATIENCE_S)
        time.sleep(0.5)
        began = time.monotonic()
        _, err = stop(process)
        assert (process.returncode, err) == (2, "error: interrupted\n")
        assert time.monotonic() - began < 10
