from __future__ import annotations

import http.server
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.runtime import Predictor, expand_sources
from hswish.runtime.sources import is_moving, is_single
from hswish.runtime.video import expected_frames
from hswish.spec.errors import DataError, MissingPackageError, PictureError

av = pytest.importorskip("av")
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def make_clip(path: Path, seconds: int = 3, size: tuple[int, int] = (64, 48)) -> Path:
    """A second of red, one of green, one of blue, at 5 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(5 * seconds):
            picture = Image.new("RGB", size, COLOURS[index // 5 % 3])
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4")


def test_frames_come_in_order_with_their_time(clip: Path, colour_engine) -> None:
    results = Predictor(colour_engine())(clip)
    assert [result.label for result in results] == ["red"] * 5 + ["green"] * 5 + ["blue"] * 5
    assert results[6].name == f"{clip} 0:01.200"
    assert results[6].relative.as_posix() == "clip-000007.png"
    assert results[0].picture.size == (64, 48)


def test_frames_stand_as_they_were_filmed(clip: Path, tmp_path: Path) -> None:
    """A phone held upright writes pictures that lie, and a matrix that turns them a quarter clockwise."""
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 44
    turn = [0, 65536, 0, -65536, 0, 0, 48 * 65536, 0, 2**30]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turn)
    (tmp_path / "turned.mp4").write_bytes(data)
    turned, plain = (next(iter(expand_sources([path]))).read() for path in (tmp_path / "turned.mp4", clip))
    assert turned.size == (48, 64)
    assert turned.tobytes() == plain.transpose(Image.Transpose.ROTATE_270).tobytes()


def test_decoding_overlaps_the_network(clip: Path) -> None:
    frames = expand_sources([clip])
    next(frames)
    time.sleep(0.3)  # the network's turn
    assert any(thread.name == "hswish-decode-video" for thread in threading.enumerate())
    frames.close()
    time.sleep(0.3)
    assert not any(thread.name == "hswish-decode-video" for thread in threading.enumerate())


def test_the_header_tells_how_many_frames_there_are(clip: Path, tmp_path: Path) -> None:
    assert expected_frames(str(clip)) == 15
    matroska = make_clip(tmp_path / "clip.mkv")  # which names its duration only
    assert expected_frames(str(matroska)) == 15
    assert expected_frames("camera:97") is None  # and is not opened for it
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"bad\.mp4: not a video"):
        expected_frames(str(tmp_path / "bad.mp4"))


def test_a_folder_may_be_called_like_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "frames.mp4"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    assert [named.relative.name for named in expand_sources([folder])] == ["1.png"]
    assert not is_moving(str(folder))


def test_a_video_is_not_one_picture(clip: Path) -> None:
    assert not is_single(clip)
    assert not is_single("camera")
    assert not is_single("https://example.org/clip.mp4?x=1")
    assert is_single("https://example.org/photo.jpg")


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\x00\x00\x00\x18ftypmp42" + bytes(500)])
def test_damaged_videos_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    (only,) = expand_sources([path])
    with pytest.raises(PictureError, match=r"bad\.mp4: "):
        only.read()
    with pytest.raises(DataError, match="no such file"):
        list(expand_sources([tmp_path / "gone.mp4"]))


def test_a_video_damaged_within_does_not_hang(clip: Path, tmp_path: Path) -> None:
    """In a process of its own, which is ended if it does."""
    data = bytearray(clip.read_bytes())
    end = 2 * len(data) // 3
    data[200:end] = np.random.default_rng(0).bytes(end - 200)
    (tmp_path / "bad.mp4").write_bytes(data)
    code = (
        "import sys\nfrom hswish.runtime import expand_sources\n"
        "for frame in expand_sources([sys.argv[1]]):\n"
        "    try: frame.read()\n    except Exception as error: print(type(error).__name__)"
    )
    for _ in range(3):  # it is a race
        command = [sys.executable, "-c", code, str(tmp_path / "bad.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "PictureError"


def test_a_damaged_video_does_not_stop_the_next(clip: Path, tmp_path: Path, colour_engine) -> None:
    whole = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    bad: list[PictureError] = []
    found = [tmp_path / "bad.mp4", clip, tmp_path / "cut.mp4", clip]
    results = list(Predictor(colour_engine()).stream(found, on_bad=bad.append))
    assert [result.label for result in results] == (["red"] * 5 + ["green"] * 5 + ["blue"] * 5) * 2
    assert [Path(error.name).name for error in bad] == ["bad.mp4", "cut.mp4"]


def test_an_absent_camera_is_one_line() -> None:
    (only,) = expand_sources(["camera:97"])
    with pytest.raises(PictureError, match="camera:97: no camera answers"):
        only.read()


def test_pyav_is_named_where_it_is_missing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"hswish\[video\]"):
        list(expand_sources([clip]))


class Site(http.server.BaseHTTPRequestHandler):
    """One picture, one page, nothing else."""

    def do_GET(self) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.full((6, 8, 3), (0, 255, 0), np.uint8)).save(buffer, "PNG")
        pages = {"/a%20b.png": buffer.getvalue(), "/page.png": b"<html>no picture</html>"}
        pages["/K%C3%A4fer.png?q=%C3%A4"] = buffer.getvalue()
        if self.path == "/away.png":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1:9/x.png")
            self.end_headers()
            return
        self.send_response(200 if self.path in pages else 404)
        self.end_headers()
        self.wfile.write(pages.get(self.path, b""))

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_pictures_by_address(site: str, colour_engine) -> None:
    predictor = Predictor(colour_engine())
    result = predictor(f"{site}/a%20b.png")
    assert result.label == "green"
    assert result.relative.name == "a b.png"
    assert predictor(f"{site}/a b.png").label == "green"
    assert predictor(f"{site}/K\u00e4fer.png?q=\u00e4").label == "green"
    with pytest.raises(PictureError, match=r"page\.png: not a picture"):
        predictor(f"{site}/page.png")
    with pytest.raises(PictureError, match=r"gone\.png: the server answers 404"):
        predictor(f"{site}/gone.png")
    with pytest.raises(PictureError, match="cannot be fetched"):
        predictor("http://127.0.0.1:9/x.png")
    with pytest.raises(PictureError, match=r"sends on to ftp://127\.0\.0\.1:9/x\.png"):
        predictor(f"{site}/away.png")
    for odd in ("http://", "http://[", "https://127.0.0.1:99999/x.png", "http://127.0.0.1:9/x y\n.png"):
        with pytest.raises(PictureError, match="cannot be fetched"):
            predictor(odd)


def test_an_address_that_never_ends_is_given_up(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hswish.runtime.addresses._LONGEST_S", 0)
    (named,) = expand_sources([f"{site}/a%20b.png"])
    with pytest.raises(PictureError, match=r"cannot be fetched \(not there after 0 s\)"):
        named.read()


def test_a_video_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hswish.runtime.video._TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/clip.mp4"
        with pytest.raises(PictureError, match=r"clip\.mp4: cannot be fetched \(nothing came"):
            expected_frames(address)


def test_an_address_that_does_not_answer_stops_no_list(site: str, colour_engine) -> None:
    bad: list[PictureError] = []
    sources = [f"{site}/gone.png", f"{site}/a%20b.png", f"{site}/page.png"]
    results = list(Predictor(colour_engine()).stream(sources, on_bad=bad.append))
    assert [result.name for result in results] == [f"{site}/a%20b.png"]
    assert [error.name for error in bad] == [f"{site}/gone.png", f"{site}/page.png"]
