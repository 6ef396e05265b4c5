"""Where the files of a data set lie: in a folder, or in a zip that is read in place.

Both list the same names (forward slashes, relative, hidden files left out) and give the
same bytes. Nothing is ever extracted to disk.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

from hswish.spec.errors import DataError, PictureError
from hswish.spec.pictures import MAX_FILE_BYTES

_DRIVE = re.compile(r"[A-Za-z]:")
_Chain = tuple[tuple[int, int], ...]
"""Folders, each in the one before it, by device and number."""
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


class Store(Protocol):
    """The files of one folder or archive."""

    location: str
    files: dict[str, int]
    """bytes by name; hidden files are left out"""
    folders: frozenset[str]
    """names of all folders, the empty ones too"""

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            PictureError: gone, damaged or far too large.
        """

    def source(self, name: str) -> Path | bytes:
        """What a header is read from: the file's path, or its bytes where it has none.

        Raises:
            PictureError: as `read` does.
        """

    def label(self, name: str) -> str:
        """The file's name for an error: its path, or `archive.zip/inner/path`."""


def open_store(path: Path) -> Store:
    """List the folder or zip `path`.

    Raises:
        DataError: neither of the two, not readable, or an archive that is damaged, encrypted or unsafe.
    """
    if path.is_dir():
        return FolderStore(path)
    if not path.is_file():  # reading a pipe or a device may never end
        raise DataError(f"{path}: is neither a folder nor a .zip; unpack it, or zip the data set's folder")
    if zipfile.is_zipfile(path):
        return ZipStore(path)
    if path.suffix.lower() == ".zip":
        raise DataError(f"{path}: not a readable zip (damaged or cut short); copy or download it again")
    raise DataError(f"{path}: is neither a folder nor a .zip; unpack it, or zip the data set's folder")


def is_junk(name: str) -> bool:
    """Whether an operating system left this file or folder behind, or it is hidden."""
    return name.startswith(".") or name.lower() in _JUNK


class FolderStore:
    """Files below a folder; symbolic links are followed, but not to a folder that they lie in."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self.files: dict[str, int] = {}
        folders: set[str] = set()
        waiting: list[tuple[str, _Chain]] = [("", ())]
        while waiting:
            folder, above = waiting.pop()
            entries, chain = self._scan(folder, above)
            for entry in entries:
                name = folder + entry.name
                if is_junk(entry.name):
                    continue
                try:
                    if entry.is_dir():
                        folders.add(name)
                        waiting.append((name + "/", chain))
                    elif entry.is_file():
                        self.files[name] = entry.stat().st_size
                    elif entry.is_symlink():  # points nowhere: an unreadable file, to be said and skipped
                        self.files[name] = 0
                except OSError:
                    self.files[name] = 0
        self.folders = frozenset(folders)

    def _scan(self, folder: str, above: _Chain) -> tuple[list[os.DirEntry[str]], _Chain]:
        """What is in a folder, and the folders that lead to what is in it."""
        path = Path(self.location, folder)
        try:
            status = path.stat()
            itself = (status.st_dev, status.st_ino)
            if itself in above:
                return [], above
            with os.scandir(path) as entries:
                return list(entries), (*above, itself)
        except OSError as error:
            raise DataError(f"{path}: cannot be listed ({error.strerror}); check its permissions") from error

    def read(self, name: str) -> bytes:
        path = Path(self.location, name)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise PictureError(str(path), f"more than {MAX_FILE_BYTES:,} bytes; no picture is that large")
            return path.read_bytes()
        except OSError as error:
            raise PictureError(str(path), f"not readable ({error.strerror}); check that it is still there") from error

    def source(self, name: str) -> Path:
        return Path(self.location, name)

    def label(self, name: str) -> str:
        return str(Path(self.location, name))


class ZipStore:
    """Files inside a zip. Safe to use from threads and after a fork."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        # A file position is shared across a fork, so every process opens the archive for itself.
        self._open: dict[int, zipfile.ZipFile] = {}
        self._entries: dict[str, str] = {}
        self.files: dict[str, int] = {}
        folders: set[str] = set()
        for info in self._archive().infolist():
            parts = [part for part in self._checked(info).split("/") if part not in ("", ".")]
            name = "/".join(parts)
            if not parts or any(is_junk(part) for part in parts):
                continue
            depth = len(parts) + 1 if info.is_dir() else len(parts)
            folders.update("/".join(parts[:count]) for count in range(1, depth))
            if not info.is_dir():
                self.files[name] = info.file_size
                self._entries[name] = info.filename
        self.folders = frozenset(folders)

    def _archive(self) -> zipfile.ZipFile:
        archive = self._open.get(os.getpid())
        if archive is None:
            try:
                archive = zipfile.ZipFile(self.location)
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                raise DataError(f"{self.location}: not a readable zip ({error}); copy or download it again") from error
            # Two threads may both get here: one of the two archives is kept, no lock to inherit in a fork.
            archive = self._open.setdefault(os.getpid(), archive)
        return archive

    def _checked(self, info: zipfile.ZipInfo) -> str:
        """The entry's name with forward slashes, or the reason to refuse the archive."""
        name = info.filename.replace("\\", "/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or _DRIVE.match(name):
            raise DataError(f"{self.location}: refused, entry {name!r} points outside the archive; zip the folder anew")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{self.location}: refused, entry {name!r} is a symbolic link; zip the files themselves")
        if info.flag_bits & 0x1:
            raise DataError(f"{self.location}: is encrypted; zip the folder without a password")
        return name

    def read(self, name: str) -> bytes:
        label = self.label(name)
        if self.files.get(name, 0) > MAX_FILE_BYTES:
            raise PictureError(label, f"more than {MAX_FILE_BYTES:,} bytes unpacked; no picture is that large")
        try:
            return self._archive().read(self._entries[name])
        except KeyError as error:
            raise PictureError(label, "not in the archive any more") from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError) as error:
            raise PictureError(label, f"cannot be unpacked ({error}); zip the folder anew") from error

    def source(self, name: str) -> bytes:
        return self.read(name)

    def label(self, name: str) -> str:
        return f"{self.location}/{name}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # open files do not travel to another process
