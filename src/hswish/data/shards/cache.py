"""Shards from the web, kept on disk as long as there is room.

Each is downloaded whole, once a machine, by whichever process needs it first; the others wait
for it. What was used longest ago makes room for the next, so a data set may be larger than the disk.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path

from hswish.data.shards.index import Shard
from hswish.hub.cache import cache_folder
from hswish.hub.checksum import Checksum
from hswish.hub.download import download
from hswish.spec.errors import OptionError

_CAPACITY_GB = 16.0


def cache_capacity() -> int:
    """Bytes that shards may take on disk: `HSWISH_SHARD_CACHE_GB`, or 16 GB.

    Raises:
        OptionError: the variable is no number above 0.
    """
    text = os.environ.get("HSWISH_SHARD_CACHE_GB", "")
    try:
        gigabytes = float(text or _CAPACITY_GB)
    except ValueError:
        gigabytes = math.nan
    if not 0 < gigabytes < math.inf:
        raise OptionError(f"HSWISH_SHARD_CACHE_GB must be a number of gigabytes above 0, not {text!r}")
    return int(gigabytes * 1e9)


def cached_shard(url: str, shard: Shard) -> tuple[Path, bool]:
    """The shard at `url` as a file on this disk, downloaded unless it is there; and whether it was, and so verified.

    It may make room for others soon: open it at once. An open file stays readable.

    Raises:
        DownloadError: not there, not reachable, cut off again and again, or the wrong bytes.
        SaveError: the disk is full or the cache not writable.
    """
    target = cache_folder("shards") / f"{shard.sha256}.tar"
    absent = not target.exists()
    if absent:
        _make_room(target.parent, cache_capacity() - shard.size)
        download(url, target, checksum=Checksum("sha256", shard.sha256), progress=None)
    with contextlib.suppress(OSError):
        os.utime(target, ns=(time.time_ns(), target.stat().st_mtime_ns))  # of the last use, and of the last change
    return target, absent


def drop_cached(path: Path) -> None:
    """Remove a shard from the cache; the next use downloads it anew."""
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.json").unlink(missing_ok=True)  # what the download noted of it


def _make_room(folder: Path, limit: int) -> None:
    """Remove the shards used longest ago until the others take up at most `limit` bytes."""
    kept = []
    for path in folder.glob("*.tar"):
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat()
            kept.append((status.st_atime, status.st_size, path))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= limit:
            return
        drop_cached(path)
        total -= size
