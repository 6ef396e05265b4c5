from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.runtime import OutputNames, expand_sources
from hswish.runtime.sources import Video, expand_path, is_single
from hswish.spec.errors import DataError, OptionError, PictureError


def relatives(*sources) -> list[str]:
    return [named.relative.as_posix() for named in expand_sources(sources)]


def encoded(colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_folders_are_searched_to_any_depth_and_sorted(picture_folder: Path) -> None:
    assert relatives(picture_folder) == ["red.png", "sub/deep/blue.bmp", "sub/green.png"]
    assert relatives(str(picture_folder / "red.png"), picture_folder / "sub") == [
        "red.png",
        "deep/blue.bmp",
        "green.png",
    ]


def test_globs(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert relatives(f"{picture_folder}/*.png") == ["red.png"]
    assert relatives(f"{picture_folder}/**/*.png") == ["red.png", "sub/green.png"]
    assert relatives(f"{picture_folder}/**") == ["red.png", "sub/deep/blue.bmp", "sub/green.png"]
    assert relatives(f"{picture_folder}/s*") == ["sub/deep/blue.bmp", "sub/green.png"]
    monkeypatch.chdir(picture_folder)
    assert relatives("*") == ["red.png", "sub/deep/blue.bmp", "sub/green.png"]
    Image.new("RGB", (2, 2)).save("odd[1].png")  # a name that only looks like a pattern
    assert relatives("odd[1].png") == ["odd[1].png"]


def test_a_glob_reaches_what_a_path_may_be(picture_folder: Path) -> None:
    """And leaves out what has no pictures, as it does with folders."""
    with zipfile.ZipFile(picture_folder / "sub" / "more.zip", "w") as archive:
        archive.writestr("in/a.png", encoded())
    with zipfile.ZipFile(picture_folder / "empty.zip", "w") as archive:
        archive.writestr("notes.txt", "no picture")
    (picture_folder / "sub" / "v.MP4").write_bytes(b"not opened yet")
    assert relatives(f"{picture_folder}/sub/*.zip") == ["in/a.png"]
    found = list(expand_path(f"{picture_folder}/**"))
    assert [item.text if isinstance(item, Video) else item.relative.as_posix() for item in found] == [
        "red.png",
        "sub/deep/blue.bmp",
        "sub/green.png",
        "sub/in/a.png",
        f"{picture_folder}/sub/v.MP4",
    ]
    with pytest.raises(DataError, match="no picture matches"):
        relatives(f"{picture_folder}/e*.zip")


def test_archives(picture_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in picture_folder.rglob("*.*"):
            archive.write(file, file.relative_to(picture_folder))
        archive.writestr("__MACOSX/red.png", b"left by an archiver")
        archive.writestr("damaged.png", b"not a picture")
    named = list(expand_sources([path]))
    assert [item.relative.as_posix() for item in named] == [
        "damaged.png",
        "red.png",
        "sub/deep/blue.bmp",
        "sub/green.png",
    ]
    assert named[1].read().getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(PictureError, match=r"pictures\.zip/damaged\.png"):
        named[0].read()


def test_standard_input_is_a_picture_or_a_list_of_paths(picture_folder: Path, monkeypatch) -> None:
    standard_input(monkeypatch, encoded())
    (named,) = expand_sources(["-"])
    assert named.read().getpixel((0, 0)) == (255, 0, 0)
    standard_input(monkeypatch, f"{picture_folder}/red.png\n\n{picture_folder}/sub\n".encode())
    assert relatives("-") == ["red.png", "deep/blue.bmp", "green.png"]
    standard_input(monkeypatch, f"{picture_folder}/red.png\n{picture_folder}/gone.png\n".encode())
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        relatives("-")
    for junk in (b"\x00\xff junk", b"some words\n", b"x" * 9999):
        standard_input(monkeypatch, junk)
        (named,) = expand_sources(["-"])
        with pytest.raises(PictureError, match="standard input"):
            named.read()
    standard_input(monkeypatch, b" \n")
    with pytest.raises(DataError, match="empty"):
        relatives("-")


@pytest.mark.parametrize("name", ["gone.jpg", "gone/", "x" * 5000 + ".jpg", "nul\0.jpg"])
def test_what_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder; check the path"):
        relatives(f"{tmp_path}/{name}")


def test_nothing_to_predict_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("notes.txt", "no picture")
    (tmp_path / "broken.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match="no pictures in this folder"):
        relatives(tmp_path)
    with pytest.raises(DataError, match="no picture matches"):
        relatives(f"{tmp_path}/*.jpg")
    with pytest.raises(DataError, match="no pictures in this archive"):
        relatives(tmp_path / "empty.zip")
    with pytest.raises(DataError, match=r"not a readable \.zip"):
        relatives(tmp_path / "broken.zip")
    with pytest.raises(OptionError, match="float is no picture source"):
        relatives(3.5)


def test_pictures_in_memory() -> None:
    red = np.zeros((3, 4, 3), np.uint8)
    red[..., 0] = 255
    alpha = np.dstack((red, np.zeros((3, 4), np.uint8)))
    palette_picture = Image.fromarray(red).quantize(4)
    sources = [red, alpha, red[::-1, ::-1], Image.fromarray(red), palette_picture, encoded(), bytearray(encoded())]
    for named in expand_sources(sources):
        picture = named.read()
        assert (picture.mode, picture.size) == ("RGB", (4, 3))
        assert picture.getpixel((3, 2)) == (255, 0, 0)
    (grey,) = expand_sources([np.full((3, 4), 77, np.uint8)])
    assert grey.read().getpixel((0, 0)) == (77, 77, 77)
    assert [named.name for named in expand_sources([red, red])] == ["picture-1", "picture-2"]


def test_turned_pil_pictures_are_set_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 3)).save(buffer, "JPEG", exif=exif)
    (named,) = expand_sources([Image.open(buffer)])
    assert named.read().size == (3, 4)


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 4, 3), np.float32), np.zeros((3, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused_with_the_remedy(pixels: np.ndarray) -> None:
    (named,) = expand_sources([pixels])
    with pytest.raises(PictureError, match="give "):
        named.read()


def test_one_picture_or_several(picture_folder: Path) -> None:
    single = [picture_folder / "red.png", str(picture_folder / "gone.png"), encoded(), np.zeros((2, 2), np.uint8)]
    assert all(is_single(source) for source in single)
    several = [picture_folder, str(picture_folder), f"{picture_folder}/*.png", "-", [encoded()], iter([])]
    assert not any(is_single(source) for source in several)


def test_outputs_never_meet_and_never_leave_their_folder() -> None:
    names = OutputNames(".png")
    given = ["x.jpg", "x.webp", "a/x.jpg", "X.JPG", "x.bmp", "x-2.jpg", "/etc/x.jpg", "../../b/x.jpg", "..", "v1.2/y"]
    made = [names(Path(path)).as_posix() for path in given]
    assert made[:5] == ["x.png", "x-2.png", "a/x.png", "X-3.png", "x-4.png"]
    assert made[6:] == ["etc/x.png", "b/x.png", "picture.png", "v1.2/y.png"]
    assert len({path.lower() for path in made}) == len(made)


def test_a_dot_in_a_name_is_part_of_it() -> None:
    names = OutputNames("")
    given = ["my.holiday-000001.png", "my.holiday-000002.png", "a.v1.jpg", "a.v1.png"]
    assert [names(Path(path)).as_posix() for path in given] == [
        "my.holiday-000001", "my.holiday-000002", "a.v1", "a.v1-2",
    ]  # fmt: skip


def test_no_path_at_all_is_not_the_folder_one_is_in(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(picture_folder)
    with pytest.raises(DataError, match="an empty path"):
        list(expand_sources([""]))


def test_a_picture_without_pixels_is_a_bad_one() -> None:
    (named,) = expand_sources([Image.new("RGB", (0, 5))])
    with pytest.raises(PictureError, match="no pixels"):
        named.read()


def test_many_equal_names_stay_fast() -> None:
    names = OutputNames(".png")
    assert len({names(Path("x.jpg")) for _ in range(20_000)}) == 20_000
