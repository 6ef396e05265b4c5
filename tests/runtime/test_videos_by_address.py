"""Videos by address: read from the server where it lets them be, else fetched whole, refused in pictures' words."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hswish.runtime import expand_sources
from hswish.runtime.video import expected_frames
from hswish.spec.errors import PictureError
from tests.runtime.test_cut_videos import make
from tests.servers.web import FolderWeb

pytest.importorskip("av")
COUNT = 400
"""Frames of a file that is larger than what FFmpeg keeps of a stream, to go back in."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for suffix in ("mp4", "mov"):  # whose index is at the end
        make(folder / f"long.{suffix}", "mpeg4", range(COUNT))
    make(folder / "a%20b.mp4", "mpeg4", range(3))  # as it is asked for
    (folder / "page.mp4").write_text("<html>no video</html>")
    return folder


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def plain(folder: Path) -> Iterator[FolderWeb]:
    """A server that sends files whole only, as `python -m http.server`."""
    with FolderWeb(folder, ranges=False) as web:
        yield web


def refusal(address: str) -> str:
    (only,) = expand_sources([address])
    with pytest.raises(PictureError) as caught:
        only.read()
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_video_that_its_server_sends_whole_only(suffix: str, plain: FolderWeb, kept: Path) -> None:
    address = plain.url(f"long.{suffix}")
    assert expected_frames(address) == COUNT
    found = list(expand_sources([f"{address}?x=1"]))
    assert len(found) == COUNT
    assert found[5].name == f"{address}?x=1 0:00.200"
    assert found[5].relative == Path("long-000006.png")
    assert found[5].read().size == (64, 48)
    assert not list(kept.iterdir())


def test_the_fetched_file_goes_when_no_more_frames_are_wanted(plain: FolderWeb, kept: Path) -> None:
    frames = expand_sources([plain.url("long.mp4")])
    next(frames)
    assert [file.stat().st_size > 0 for file in kept.rglob("*.mp4")] == [True]
    frames.close()
    assert not list(kept.iterdir())


def test_a_server_of_pieces_is_read_in_pieces(folder: Path, kept: Path) -> None:
    with FolderWeb(folder) as web:
        assert expected_frames(web.url("long.mp4")) == COUNT
        frames = expand_sources([web.url("long.mp4")])
        next(frames)
        assert not list(kept.iterdir())
        frames.close()
        assert len(list(expand_sources([web.url("a b.mp4")]))) == 3


def test_what_cannot_be_had_is_said_as_of_pictures(plain: FolderWeb, kept: Path) -> None:
    gone = plain.url("gone.mp4")
    assert expected_frames(gone) is None
    assert refusal(gone) == f"{gone}: the server answers 404; check the address"
    assert "page.mp4: not a video that can be read (" in refusal(plain.url("page.mp4"))
    text = refusal("http://127.0.0.1:9/x.mp4")
    assert text.startswith("http://127.0.0.1:9/x.mp4: cannot be fetched (Connection refused); try again")
    assert "cannot be fetched (" in refusal("http://[/x.mp4")
    assert not list(kept.iterdir())


def test_a_server_that_breaks_off(plain: FolderWeb, kept: Path) -> None:
    resource = plain.files["/long.mp4"]
    resource.cuts = [1000] * 20
    assert "cannot be fetched (the server broke off after 1,000 of " in refusal(plain.url("long.mp4"))
    assert not list(kept.iterdir())


def test_a_video_too_large_to_be_fetched(plain: FolderWeb, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hswish.runtime.addresses._MAX_VIDEO_BYTES", 100_000)
    assert refusal(plain.url("long.mp4")).endswith(
        ": cannot be read from its server, and has more than 100,000 bytes; download it first"
    )
    assert not list(kept.iterdir())
