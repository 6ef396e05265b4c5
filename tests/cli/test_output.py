"""Who reads the output: people at a terminal, other programs, or nobody any more."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

import hswish
from tests.cli.conftest import ANSI, QUICK, command, environment

COMMANDS = ("train", "eval", "predict", "info", "models")


def shell(*arguments: object, after: str = "", cwd: Path) -> subprocess.CompletedProcess[str]:
    """Through bash; the exit status of the first command in a pipe is what comes back."""
    words = " ".join(f"'{word}'" for word in command(*arguments))
    line = f"{words} {after}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=cwd, env=environment(), timeout=120)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str, hswish_cli) -> None:
    outcome = hswish_cli(name, "--help")
    assert outcome.status == 0
    assert re.search(rf"\n +hswish {name} ?", outcome.tidy().out)
    assert f"Usage: hswish {name} " in outcome.out
    assert name in hswish_cli("--help").success().out


def test_without_a_command_help_is_shown(hswish_cli) -> None:
    outcome = hswish_cli()
    outcome.error("name a command, as in: hswish train digits --model mobilenet_v3_small")
    assert all(name in outcome.out for name in COMMANDS)


def test_version(hswish_cli) -> None:
    assert hswish_cli("--version").success().out == f"hswish {hswish.__version__}\n"


# --------------------------------------------------------------------------------------
# Programs
# --------------------------------------------------------------------------------------


def test_json_is_all_there_is_on_standard_output(made: Path, classifier: Path, segmenter: Path, hswish_cli) -> None:
    pictures, scenes = made / "pictures", made / "scenes"
    for arguments in (
        ("train", pictures, "-m", "mobilenet_v3_small", *QUICK, "--json"),
        ("eval", classifier, pictures, "--workers", 0, "--json"),
        ("eval", segmenter, scenes, "--workers", 0, "--json"),
        ("info", classifier, "--json"),
        ("info", "mobilenet_v3_large", "--json"),
        ("models", "--json"),
    ):
        assert json.loads(hswish_cli(*arguments).success().out)
    for model, folder in ((classifier, pictures), (segmenter, scenes / "images")):
        lines = hswish_cli("predict", model, folder, "--json").success().out.splitlines()
        assert len(lines) == (12 if folder == pictures else 6)
        assert all({"name", "task", "label", "time_ms"} <= json.loads(line).keys() for line in lines)


def test_nothing_on_standard_output_where_it_failed(made: Path, classifier: Path, hswish_cli) -> None:
    for arguments in (("eval", classifier, made / "gone", "--json"), ("info", made / "gone.safetensors", "--json")):
        outcome = hswish_cli(*arguments)
        outcome.error("gone")
        assert not outcome.out


@pytest.mark.parametrize("what", ["predict", "info"])
def test_a_reader_that_goes_away(what: str, made: Path, classifier: Path, tmp_path: Path) -> None:
    arguments = ("predict", classifier, *[made / "pictures"] * 40) if what == "predict" else ("info", classifier)
    done = shell(*arguments, after="| head -1", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr
    assert done.returncode == 2 or what == "info"  # which may have said all before its reader goes


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_standard_output_that_is_full_or_closed(classifier: Path, tmp_path: Path) -> None:
    done = shell("info", classifier, "--json", after="> /dev/full", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: no space left on device\n")
    done = shell("predict", classifier, "-", after="<&- >&-", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: standard input is empty; pipe a picture or a list of paths into it\n"


def test_an_encoding_that_lacks_a_letter(made: Path, classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "ü.png").write_bytes((made / "pictures" / "cat" / "00.png").read_bytes())
    environ = {**environment(), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command("predict", classifier, "ü.png"), capture_output=True, cwd=tmp_path, env=environ)
    assert done.stdout.startswith(b"\\xfc.png  ")
    assert (done.returncode, done.stderr) == (0, b"")


# --------------------------------------------------------------------------------------
# People
# --------------------------------------------------------------------------------------


def at_terminal(*arguments: object, cwd: Path, **environ: str) -> tuple[int, str]:
    """Exit status, and all that a pseudo-terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env={**environment(), **environ}
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the last process that held it is
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def test_a_terminal_shows_colours_and_progress(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, shown = at_terminal("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", out, cwd=tmp_path)
    assert status == 0, shown
    assert ANSI.search(shown)
    assert "pictures/s" in shown
    assert "epoch 1/1" in shown
    assert "best model: " in shown
    status, shown = at_terminal("predict", out / "best.safetensors", made / "gone", cwd=tmp_path)
    assert status == 2
    assert "\x1b[1;31merror:" in shown
    status, shown = at_terminal("predict", out / "best.safetensors", made / "gone", cwd=tmp_path, NO_COLOR="1")
    assert "\x1b[1;31m" not in shown
    assert "error:" in shown


def test_a_warm_network_answers_alike(made: Path, classifier: Path, hswish_cli) -> None:
    picture = next((made / "pictures" / "cat").iterdir())
    found = []
    for count in (0, 3):
        outcome = hswish_cli("predict", classifier, picture, "--json", "--warm-up", count).success()
        (line,) = outcome.out.splitlines()
        found.append({key: value for key, value in json.loads(line).items() if key != "time_ms"})
    assert found[0] == found[1]
    hswish_cli("predict", classifier, picture, "--warm-up", -1).error("--warm-up")


@pytest.mark.parametrize(
    ("started", "printed"),
    [({"RANK": "1"}, True), ({"RANK": "0", "TORCHELASTIC_RUN_ID": "none"}, True),
     ({"RANK": "1", "TORCHELASTIC_RUN_ID": "none"}, False)],
)  # fmt: skip
def test_only_torchrun_silences_a_process(
    started: dict[str, str], printed: bool, made: Path, tmp_path: Path, hswish_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue may number its jobs by RANK, too."""
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    done = hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", tmp_path / "run", "--json")
    assert bool(done.success().out) == printed
