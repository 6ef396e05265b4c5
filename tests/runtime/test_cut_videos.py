"""Videos that are not whole say so; whole ones, however odd their headers, do not."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hswish.runtime import expand_sources
from hswish.runtime.video import EarlyEndError, expected_frames
from hswish.spec.errors import PictureError

av = pytest.importorskip("av")
RATE, COUNT = 25, 50
CONTAINERS = [
    ("mp4", "mpeg4"),
    ("mp4", "libx264"),
    ("mov", "mpeg4"),
    ("m4v", "mpeg4"),
    ("mkv", "mpeg4"),
    ("mkv", "libx264"),
    ("avi", "mpeg4"),
    ("avi", "mjpeg"),
    ("avi", "libx264"),
    ("avi", "msmpeg4v2"),
    ("webm", "libvpx"),
    ("webm", "libvpx-vp9"),
    ("mpg", "mpeg2video"),
]


def make(file: object, codec: str, times: Iterable[int] = range(COUNT), **container: object) -> None:
    """Noise at `times`, in 25ths of a second."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    rng = np.random.default_rng(0)
    with av.open(file if hasattr(file, "write") else str(file), "w", **container) as target:
        stream = target.add_stream(codec, rate=RATE)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for moment in times:
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, RATE)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def cut(path: Path, part: float) -> Path:
    content = path.read_bytes()
    cut_off = path.with_name(f"cut{path.suffix}")
    cut_off.write_bytes(content[: int(part * len(content))])
    return cut_off


def read(path: Path) -> tuple[int, PictureError | None]:
    """The number of good frames, and the error that the last one is, if it is."""
    count = 0
    for named in expand_sources([path]):
        try:
            named.read()
        except PictureError as error:
            return count, error
        count += 1
    return count, None


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_whole_videos_are_whole(suffix: str, codec: str, tmp_path: Path) -> None:
    make(tmp_path / f"clip.{suffix}", codec)
    assert read(tmp_path / f"clip.{suffix}") == (COUNT, None)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_frames_at_odd_times_are_no_missing_ones(suffix: str, tmp_path: Path) -> None:
    """An .avi counts the places at which no picture stands."""
    path = tmp_path / f"clip.{suffix}"
    make(path, "mpeg4", [0, 1, 2, 10, 11, 30, 31, 32, 60])
    assert read(path) == (9, None)


def test_frames_that_an_edit_leaves_out_are_no_missing_ones(tmp_path: Path) -> None:
    """As telephones trim: the file holds all frames, and says which second of them to show."""
    path = tmp_path / "clip.mp4"
    make(path, "mpeg4", range(100))
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12
    _, start = struct.unpack(">Ii", content[place : place + 8])
    content[place : place + 8] = struct.pack(">Ii", 1000, start + 12800)
    path.write_bytes(content)
    count, error = read(path)
    assert error is None
    assert count < 100


class Pipe:
    """A file that cannot be gone back in."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += bytes(data)
        return len(data)


@pytest.mark.parametrize(("format", "suffix"), [("avi", "avi"), ("matroska", "mkv"), ("mpegts", "mpg")])
def test_a_video_written_into_a_pipe_is_whole(format: str, suffix: str, tmp_path: Path) -> None:
    pipe = Pipe()
    make(pipe, "mpeg2video", format=format)
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(pipe.content)
    assert read(path) == (COUNT, None)
    assert (expected_frames(str(path)) or 0) <= 2 * COUNT  # the header of an .avi promises 1,073,741,824


@pytest.mark.parametrize("part", [0.4, 0.7])
@pytest.mark.parametrize(("suffix", "codec"), [pair for pair in CONTAINERS if pair[0] in ("avi", "mkv", "webm")])
def test_a_cut_video_ends_early(suffix: str, codec: str, part: float, tmp_path: Path) -> None:
    make(tmp_path / f"clip.{suffix}", codec)
    count, error = read(cut(tmp_path / f"clip.{suffix}", part))
    assert 1 < count < COUNT
    assert isinstance(error, EarlyEndError)
    assert f"cut.{suffix}: ends early, after {count} frames at 0:0" in str(error)
    assert "\n" not in str(error)


def test_a_cut_video_with_its_index_first_ends_early(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", "mpeg4", options={"movflags": "faststart"})
    assert read(tmp_path / "clip.mp4") == (COUNT, None)
    for part in (0.4, 0.8, 0.96):
        count, error = read(cut(tmp_path / "clip.mp4", part))
        assert count < COUNT
        assert isinstance(error, EarlyEndError)


@pytest.mark.parametrize("part", [0.4, 0.5, 0.7])
def test_a_cut_mpg_ends_in_the_middle_of_a_picture(part: float, tmp_path: Path) -> None:
    """It has no header that tells its length."""
    make(tmp_path / "clip.mpg", "mpeg2video")
    count, error = read(cut(tmp_path / "clip.mpg", part))
    assert 1 < count < COUNT
    assert isinstance(error, EarlyEndError)
    assert f"after {count} frames at 0:0" in str(error)
    assert "(in the middle of a picture)" in str(error)


@pytest.mark.parametrize(("suffix", "codec"), [pair for pair in CONTAINERS if pair != ("avi", "libx264")])
def test_times_begin_at_nought(suffix: str, codec: str, tmp_path: Path) -> None:
    """The clock of an .mpg starts at half a second; an .avi keeps no times, which reordered frames would need."""
    make(tmp_path / f"clip.{suffix}", codec, range(2))
    names = [named.name.split()[-1] for named in expand_sources([tmp_path / f"clip.{suffix}"])]
    assert names == ["0:00.000", "0:00.040"]


def test_a_lost_index_is_no_lost_frame(tmp_path: Path) -> None:
    """It lies at the end of an .avi, and a player makes it again."""
    make(tmp_path / "clip.avi", "mpeg4")
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(content[: content.rindex(b"idx1")])
    assert read(tmp_path / "clip.avi") == (COUNT, None)


def test_what_comes_before_the_end_is_predicted(tmp_path: Path, colour_engine) -> None:
    from hswish.runtime import Predictor

    make(tmp_path / "clip.avi", "mpeg4")
    bad: list[PictureError] = []
    path = cut(tmp_path / "clip.avi", 0.5)
    results = list(Predictor(colour_engine()).stream([path, path], on_bad=bad.append))
    assert len(results) > COUNT // 2
    assert [type(error) for error in bad] == [EarlyEndError] * 2


@pytest.mark.parametrize("number", [0, 3])
def test_an_absent_camera_is_one_plain_line(number: int) -> None:
    name = f"camera:{number + 90}"
    (only,) = expand_sources([name])
    with pytest.raises(PictureError) as caught:
        only.read()
    text = str(caught.value)
    assert text.startswith(f"{name}: no camera answers (No such file or directory); ")
    for raw in ("Errno", "0x", "v4l2", "/dev/", "\n", f"another: {name}"):
        assert raw not in text
