"""Videos and cameras through `hswish predict`: what is not whole is said in one line."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from hswish.cli import console
from tests.runtime.test_cut_videos import cut, make

pytest.importorskip("av")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    make(tmp_path / "clip.avi", "mpeg4")
    return tmp_path / "clip.avi"


@pytest.fixture
def short(whole: Path) -> Path:
    return cut(whole, 0.5)


def test_a_cut_video_is_one_line_and_what_was_read_is_kept(
    classifier: Path, short: Path, tmp_path: Path, hswish_cli
) -> None:
    outcome = hswish_cli("predict", classifier, short, "--out", tmp_path / "drawn")
    outcome.error(short, "ends early, after ", "copy or fetch it again")
    assert len(outcome.err.splitlines()) == 1
    kept = int(re.findall(r"after (\d+) frames", outcome.err)[0])
    assert kept == len(outcome.out.splitlines()) == len(list((tmp_path / "drawn").iterdir())) > 1


def test_a_cut_video_among_others(classifier: Path, whole: Path, short: Path, hswish_cli) -> None:
    outcome = hswish_cli("predict", classifier, *[whole] * 3, short)
    outcome.error("1 of 4 videos could not be read to their end")
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("warning:")]
    assert line.startswith(f"warning: {short}: ends early, after ")
    outcome = hswish_cli("predict", classifier, *[whole] * 10, short).success()
    assert len(outcome.err.splitlines()) == 1


def test_a_quoted_glob_reaches_videos(classifier: Path, whole: Path, tmp_path: Path, hswish_cli) -> None:
    (tmp_path / "v" / "sub").mkdir(parents=True)
    for place in ("v/a.avi", "v/sub/a.avi"):
        (tmp_path / place).write_bytes(whole.read_bytes())
    outcome = hswish_cli("predict", classifier, f"{tmp_path}/v/**/*.avi", "--out", tmp_path / "drawn").success()
    assert len(outcome.out.splitlines()) == 100
    assert (tmp_path / "drawn" / "sub" / "a-000050.overlay.png").exists()
    assert (tmp_path / "drawn" / "a-000050.overlay.png").exists()


@pytest.mark.parametrize("camera", ["camera", "camera:93"])
def test_an_absent_camera_is_one_line(camera: str, classifier: Path, hswish_cli) -> None:
    if Path("/dev/video0").exists():
        pytest.skip("there is a camera")
    outcome = hswish_cli("predict", classifier, camera)
    line = outcome.error(f"{camera}: no camera answers")
    assert outcome.err.splitlines() == [line]
    assert not re.search("file|Errno|0x|camera:1", line.replace("No such file or directory", ""))


def test_frames_are_called_frames(classifier: Path, whole: Path, hswish_cli, monkeypatch) -> None:
    clock = itertools.count(0.0, 11.0)  # progress is a line every ten seconds
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    outcome = hswish_cli("predict", classifier, whole).success()
    assert "predict: 50 of 50 frames, " in outcome.err
    assert "pictures" not in outcome.err
