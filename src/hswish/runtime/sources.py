"""What may be predicted: files, folders, globs, archives, videos, cameras, addresses, arrays, pictures.

`expand_sources` turns any mixture of them into `Named` inputs, one a picture, lazily and
in order; nothing is decoded before `Named.read`.
"""

from __future__ import annotations

import glob
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image

from hswish.runtime.addresses import Address
from hswish.runtime.named import Named, ZipMember
from hswish.runtime.video import frames, is_camera, is_video
from hswish.spec.addresses import is_web_address
from hswish.spec.errors import DataError, OptionError, PictureError
from hswish.spec.pictures import MAX_FILE_BYTES, PICTURE_SUFFIXES, is_picture_name, read_size

STDIN = "-"
_MAX_STDIN_BYTES = 2**28
"""Most that is read from standard input, which may be endless."""
_SUFFIXES = ", ".join(sorted(PICTURE_SUFFIXES))


@dataclass(frozen=True)
class Video:
    """A video or camera whose frames have not come yet."""

    text: str
    """its path or address, or `camera:1`"""
    folder: Path = Path()
    """where its frames lie below what was given"""

    def frames(self) -> Iterator[Named]:
        """See `hswish.runtime.video.frames`."""
        for frame in frames(self.text):
            yield replace(frame, relative=self.folder / frame.relative)


def expand_sources(sources: Iterable[Any]) -> Iterator[Named]:
    """Every picture that `sources` name, in order; a folder's and an archive's are sorted by path.

    Args:
        sources: paths of pictures; folders (searched to any depth, hidden files and linked
            folders left out); globs (`**` means any depth) of any of these; `.zip` files;
            videos and `camera`, `camera:1`, frame by frame; `https://` addresses of pictures and videos; `-` for
            standard input, which holds one encoded picture or lines of paths. From Python also encoded
            bytes, files opened for reading them, uint8 arrays (H, W), (H, W, 3) RGB or (H, W, 4) RGBA and
            batches of these, (N, H, W, 3 or 4), PIL images, `Named`.

    Raises:
        DataError: a path does not exist, or there is no picture in a folder, glob or archive.
        OptionError: something that is no source at all.
    """
    for count, source in enumerate(sources, start=1):
        if isinstance(source, Named):
            yield source
        elif isinstance(source, Video):
            yield from source.frames()
        elif isinstance(source, (str, os.PathLike)):
            for item in expand_path(os.fspath(source)):
                yield from item.frames() if isinstance(item, Video) else [item]
        elif isinstance(source, (bytes, bytearray, memoryview)):
            yield Named(f"picture-{count}", bytes(source), Path(f"picture-{count}"))
        elif isinstance(source, Image.Image):
            name = str(getattr(source, "filename", "") or f"picture-{count}")
            yield Named(name, source, Path(Path(name).name))
        elif isinstance(source, np.ndarray) and source.ndim == 4:
            for index, pixels in enumerate(source, start=1):
                yield Named(f"picture-{count}-{index}", pixels, Path(f"picture-{count}-{index}"))
        elif isinstance(source, np.ndarray):
            yield Named(f"picture-{count}", source, Path(f"picture-{count}"))
        elif _is_file_object(source):
            yield _from_file_object(source, f"picture-{count}")
        else:
            raise OptionError(
                f"a {type(source).__name__} is no picture source; give a path, a folder, bytes, "
                "an open file, a uint8 array or a PIL image"
            )


def expand_path(text: str) -> Iterator[Named | Video]:
    """As `expand_sources`, of one path, address or camera; but a video is one item, which has not been opened."""
    if not text:
        raise DataError("an empty path; name a picture or a folder")
    path, kind = Path(text), _kind(text)
    if text == STDIN:
        yield from expand_sources(read_stdin())
    elif kind == "folder":
        yield from _from_folder(path)
    elif is_moving(text):
        yield Video(text)
    elif is_web_address(text):
        address = Address(text)
        yield Named(text, address, address.file_name)
    elif kind == "file":
        yield from _from_archive(path) if _is_archive(path) else [Named(text, path, Path(path.name))]
    elif _is_glob(text):
        yield from _from_glob(text)
    else:
        raise DataError(f"{text}: no such file or folder; check the path")


def is_moving(text: str) -> bool:
    """Whether a source is one video or camera, whose frames come one by one."""
    if not is_video(text):
        return False
    kind = _kind(text)
    # The ? of an address begins its query, that of a path stands for any letter.
    return kind == "file" or (kind == "missing" and (is_web_address(text) or not _is_glob(text)))


def is_single(source: object) -> bool:
    """Whether `source` stands for exactly one picture, so that one result answers it."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        kind = _kind(text)
        if is_moving(text) or (kind != "folder" and is_web_address(text)):
            return not is_moving(text)
        if kind == "missing":  # one that is not there is one picture, until a wildcard says otherwise
            return text != STDIN and not _is_glob(text)
        return kind == "file" and not _is_archive(Path(text))
    if isinstance(source, np.ndarray):
        return source.ndim != 4
    return isinstance(source, (Named, bytes, bytearray, memoryview, Image.Image)) or _is_file_object(source)


def is_source(source: object) -> bool:
    """Whether `expand_sources` takes `source` itself, and not only what is in it."""
    return isinstance(source, (str, os.PathLike, np.ndarray)) or is_single(source)


def is_endless(source: object) -> bool:
    """Whether `source` is a camera."""
    return isinstance(source, str) and is_camera(source)


def _is_file_object(source: object) -> bool:
    return callable(getattr(source, "read", None))


def _from_file_object(file: Any, name: str) -> Named:
    """What is left in an open file, called by its path where it has one."""
    given = getattr(file, "name", None)
    name = given if isinstance(given, str) else name
    data: bytes | PictureError
    try:
        data = file.read(MAX_FILE_BYTES)
    except (OSError, ValueError) as error:  # closed, or opened for writing, or as text
        data = PictureError(name, f"cannot be read ({' '.join(str(error).split())[:100]}); open it with mode 'rb'")
    if isinstance(data, str):
        data = PictureError(name, "is opened as text; open it with mode 'rb'")
    return Named(name, data, Path(Path(name).name))


def _kind(text: str) -> Literal["file", "folder", "missing"]:
    try:
        path = Path(text)
        return "folder" if path.is_dir() else "file" if path.exists() else "missing"
    except OSError:  # a name too long, or a folder that may not be entered
        return "missing"


def _from_folder(folder: Path) -> Iterator[Named]:
    found = sorted(_pictures_below(folder))
    if not found:
        raise DataError(f"{folder}: no pictures in this folder ({_SUFFIXES}); choose another one")
    for path in found:
        yield Named(str(path), path, path.relative_to(folder))


def _pictures_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):  # which does not follow links to folders
        if _is_visible_picture(path.relative_to(folder)) and not path.is_dir():  # a folder may be called x.jpg
            yield path


def _from_glob(pattern: str) -> Iterator[Named | Video]:
    root = _fixed_part(pattern)
    found: set[Path] = set()  # `**` finds a file through each of its folders
    for match in map(Path, glob.glob(pattern, recursive=True)):  # noqa: PTH207 Path.glob takes no absolute pattern
        if match.is_dir():
            found.update(_pictures_below(match))
        elif is_picture_name(match.name) or is_video(match.name) or _is_archive(match):
            found.add(match)
    is_empty = True
    for path in sorted(_once_each(found)):
        for item in _from_match(path, path.relative_to(root)):
            is_empty = False
            yield item
    if is_empty:
        raise DataError(f"{pattern}: no picture matches, nor a video or .zip file ({_SUFFIXES}); check the pattern")


def _from_match(path: Path, relative: Path) -> Iterator[Named | Video]:
    if _is_archive(path):  # which like a folder may hold no pictures: the pattern did not ask for it by name
        yield from (replace(named, relative=relative.parent / named.relative) for named in _members(path))
    elif is_video(path.name):
        yield Video(str(path), relative.parent)
    else:
        yield Named(str(path), path, relative)


def _once_each(paths: Iterable[Path]) -> Iterator[Path]:
    """The shortest path to each file: a link to a folder above it makes dozens of them."""
    seen: set[tuple[str, str]] = set()
    for path in sorted(paths, key=lambda path: len(path.parts)):
        key = (os.path.realpath(path.parent), path.name)
        if key not in seen:
            seen.add(key)
            yield path


def _from_archive(path: Path) -> list[Named]:
    found = _members(path)
    if not found:
        raise DataError(f"{path}: no pictures in this archive ({_SUFFIXES}); choose another one")
    return found


def _members(path: Path) -> list[Named]:
    """The pictures in an archive."""
    try:
        if not path.is_file():
            raise OSError("not a regular file")  # opening a pipe would wait for ever
        archive = zipfile.ZipFile(path)  # closed with the last `Named` that reads from it
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: not a readable .zip file ({error}); fetch or pack it again") from error
    found = sorted(
        (
            info
            for info in archive.infolist()
            if not info.is_dir() and _is_visible_picture(PurePosixPath(info.filename))
        ),
        key=lambda info: info.filename,
    )
    return [Named(f"{path}/{info.filename}", ZipMember(archive, info), Path(info.filename)) for info in found]


def read_stdin() -> list[Named | str]:
    """What standard input gives: one picture, or the lines of a list of paths.

    Raises:
        DataError: it is empty, or without end.
    """
    data = sys.stdin.buffer.read(_MAX_STDIN_BYTES + 1) if sys.stdin else b""  # None where the caller closed it
    if len(data) > _MAX_STDIN_BYTES:
        raise DataError(f"standard input: more than {_MAX_STDIN_BYTES:,} bytes; give the picture's path instead")
    if not data.strip():
        raise DataError("standard input is empty; pipe a picture or a list of paths into it")
    paths = [] if _is_picture(data) else _lines_of_paths(data)
    about = " (whose first line names no file)" if _is_text(data) else ""
    return [*paths] or [Named(f"standard input{about}", data, Path("stdin"))]


def _lines_of_paths(data: bytes) -> list[str]:
    """The lines of `data` where it is text whose first line names something that exists."""
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in data.split(b"\n") if line.strip()]
    return lines if lines and _kind(lines[0]) != "missing" else []


def _is_text(data: bytes) -> bool:
    start = data[:80]
    return all(byte >= 32 or byte in b"\r\n\t" for byte in start) and not _is_picture(data)


def _is_picture(data: bytes) -> bool:
    try:
        read_size(data)
    except PictureError:
        return False
    return True


def _is_visible_picture(path: Path | PurePosixPath) -> bool:
    """A picture's suffix and nothing hidden: `._x.jpg` and `__MACOSX/` are leftovers of archivers."""
    return is_picture_name(path.name) and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _is_glob(text: str) -> bool:
    return glob.has_magic(text)


def _fixed_part(pattern: str) -> Path:
    """The folder before the first part with a wildcard: outputs are named from there on."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if _is_glob(part))
    return Path(*parts[:first])
