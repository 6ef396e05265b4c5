"""Reading from shards: any picture by its offset, from tar files in a folder or on the web."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from pathlib import Path
from typing import Any

from hswish.data.shards.cache import cached_shard, drop_cached
from hswish.data.shards.folder import shard_files
from hswish.data.shards.index import INDEX_FILE, KEY, UNFINISHED_FILE, Shard, ShardIndex, read_index
from hswish.data.shards.scan import scan_folder
from hswish.data.shards.verified import Verified
from hswish.data.source import shard_of
from hswish.data.splits import stable_hash
from hswish.hub.cache import cache_folder
from hswish.hub.download import download
from hswish.spec.addresses import is_web_address
from hswish.spec.errors import DataError, DownloadError, HswishError, PictureError
from hswish.spec.pictures import MAX_FILE_BYTES

_OPEN_SHARDS = 64
"""Files that a process keeps open: several times as many as the order of training uses at one time."""


def is_sharded(folder: Path) -> bool:
    """Whether a folder holds shards: it has our index or the mark of unfinished ones, or tar files and nothing else.

    An archive may well lie beside what was unpacked from it.
    """
    if not folder.is_dir():
        return False
    if has_index(folder) or (folder / UNFINISHED_FILE).is_file():
        return True
    try:
        below = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:  # whoever lists the folder says why it cannot be
        return False
    return bool(shard_files(folder)) and all(any(path.glob("*.tar")) for path in below)


def has_index(folder: Path) -> bool:
    """Whether there is an index of ours, sound or not; other tools have files of that name, too."""
    try:
        with open(folder / INDEX_FILE, "rb") as file:
            return KEY.encode() in file.read(64)
    except OSError:
        return False


def open_local_index(folder: Path) -> tuple[ShardIndex, dict[str, str]]:
    """The index of a folder of shards, and the reason by sample that has to be left out.

    Raises:
        DataError: the index or, where there is none of ours, a tar file is damaged; or `hswish shard` has not finished.
    """
    path = folder / INDEX_FILE
    if not has_index(folder):
        if (folder / UNFINISHED_FILE).is_file():
            raise DataError(
                f"{folder}: these shards are not whole, `hswish shard` was stopped or is still at work; "
                f"run it again with --out {shlex.quote(str(folder))}"
            )
        return scan_folder(folder, shard_files(folder))
    try:
        return read_index(path.read_text(encoding="utf-8"), str(path)), {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make the shards again with `hswish shard`") from error


def open_web_index(address: str) -> ShardIndex:
    """The index of shards at an address, asked of the server anew each time.

    Raises:
        DownloadError: not there or not reachable.
        DataError: it is no index of shards.
    """
    url = f"{folder_address(address)}/{INDEX_FILE}"
    kept = cache_folder("shards") / f"index-{stable_hash(url):016x}.json"
    try:
        file = download(url, kept, progress=None)
    except DownloadError as error:
        about = "it is what `hswish shard` makes; tar files without it are read from a local folder"
        raise DownloadError(f"{error}; {about}") from error
    return read_index(file.read_text(encoding="utf-8", errors="replace"), url)


def folder_address(address: str) -> str:
    """The address of the folder, without a last slash, where that of the index may be given too."""
    return address.removesuffix(INDEX_FILE).rstrip("/")


class _OpenFile:
    """A descriptor that is closed with the last reference to it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class ShardStore:
    """The pictures and masks of an index as the files of one folder. Safe to use from threads and after a fork."""

    def __init__(self, index: ShardIndex, location: str) -> None:
        """`location`: the folder, or the address of one, that holds the index."""
        self.location = location
        self.is_remote = is_web_address(location)
        self._shards: dict[str, Shard] = {}
        self._offsets: dict[str, int] = {}
        self.files: dict[str, int] = {}
        for shard in (shard for shards in index.splits.values() for shard in shards):
            self._shards[shard.name] = shard
            folder = shard.name + "/"
            for record in shard.records:
                for member in (record.picture, record.target):
                    if not isinstance(member, int):
                        name = folder + member.name
                        self.files[name], self._offsets[name] = member.size, member.offset
        self.folders: frozenset[str] = frozenset()
        self._number = {name: number for number, name in enumerate(self._shards)}
        self._verified = Verified(len(self._shards))
        self._open: dict[int, dict[str, _OpenFile]] = {}  # by process: a fork must not close its parent's

    def read(self, name: str) -> bytes:
        """The bytes of a member.

        Raises:
            PictureError: larger than any picture.
            DataError: its shard is gone, not reachable, or not the one that the index speaks of.
        """
        size, offset = self.files[name], self._offsets[name]
        if size > MAX_FILE_BYTES:
            raise PictureError(self.label(name), f"more than {MAX_FILE_BYTES:,} bytes; no picture is that large")
        shard = self._shards[shard_of(name)]
        try:
            file = self._opened(shard)  # the reference keeps it open while another thread makes room
            data = os.pread(file.descriptor, size, offset)
        except OSError as error:
            raise DataError(f"{self._place(shard)}: cannot be read ({error.strerror}); check the disk") from error
        if len(data) < size:
            raise DataError(f"{self._place(shard)}: ends before {self.label(name)}; copy it again")
        return data

    @property
    def largest_shard(self) -> int:
        """Bytes of the largest shard."""
        return max(shard.size for shard in self._shards.values())

    def fetch(self, shard: str) -> None:
        """Have a shard, as `shard_of` names it, on this disk.

        Raises:
            HswishError: it is not there, not reachable, damaged, or there is no room.
        """
        if self.is_remote:
            os.close(self._open_shard(self._shards[shard]))

    def source(self, name: str) -> bytes:
        return self.read(name)

    def label(self, name: str) -> str:
        plain = re.sub(r"(\.tar)@[0-9a-f]{8}/", r"\1/", name, count=1)
        return f"{self.location}/{plain}"

    def _place(self, shard: Shard) -> str:
        return f"{self.location}/{shard.file}"

    def _opened(self, shard: Shard) -> _OpenFile:
        """The open file of a shard; the one opened longest ago is let go for it."""
        held = self._open.setdefault(os.getpid(), {})
        file = held.get(shard.file)
        if file is None:
            file = held[shard.file] = _OpenFile(self._open_shard(shard))
            for oldest in list(held)[:-_OPEN_SHARDS]:
                held.pop(oldest, None)
        return file

    def _open_shard(self, shard: Shard) -> int:
        """A descriptor of the shard, whose bytes are those of the index.

        Raises:
            DataError: they are not, or it is not there, not reachable or not readable.
        """
        place = self._place(shard)
        for attempt in range(3):
            try:
                path, fresh = cached_shard(place, shard) if self.is_remote else (Path(place), False)
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except FileNotFoundError as error:
                if self.is_remote and attempt < 2:  # it made room for another shard in this very moment
                    continue
                raise DataError(f"{place}: is not there, but the index names it; copy it again") from error
            except OSError as error:
                raise DataError(f"{place}: cannot be opened ({error.strerror}); check its permissions") from error
            except HswishError as error:  # from the download; travels from a loading process as a value
                raise DataError(str(error)) from error
            wrong = self._wrong(shard, descriptor, fresh)
            if not wrong:
                return descriptor
            status = os.fstat(descriptor)
            os.close(descriptor)
            if fresh or not self.is_remote:
                raise DataError(f"{place}: {wrong}; copy it again, or make the shards again with `hswish shard`")
            with contextlib.suppress(OSError):
                if os.path.samestat(status, path.stat()):  # else another process has replaced it
                    drop_cached(path)
        raise DataError(f"{place}: its copy in {cache_folder('shards')} is damaged again and again; check the disk")

    def _wrong(self, shard: Shard, descriptor: int, fresh: bool) -> str:
        """How the open file differs from what the index says; empty where it does not.

        Args:
            fresh: it was verified just now.
        """
        size, number = os.fstat(descriptor).st_size, self._number[shard.name]
        if size != shard.size:
            return f"has {size:,} bytes, not the {shard.size:,} of the index"
        if fresh:
            self._verified.note(number, descriptor)
            return ""
        try:
            good = shard.listed or self._verified.fits(number, descriptor, shard.sha256)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return "" if good else "has other bytes than those of the index (its SHA-256 differs)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # open files do not travel to another process
