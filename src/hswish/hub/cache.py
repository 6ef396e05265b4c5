"""The folder that keeps what was fetched, so that everything is fetched once.

downloads/             files as their servers gave them
converted/VERSION/     published weights in hswish's own format
shards/                data sets that are read over the web

Deleting any of it costs only the time to fetch it again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hswish.spec.errors import MissingPackageError, SaveError
from hswish.spec.files import expanded, explain_os_error


def cache_folder(*parts: str) -> Path:
    """`HSWISH_HOME`, or hswish's folder where this system keeps caches; `parts` are folders below it."""
    home = os.environ.get("HSWISH_HOME")
    return expanded(home).absolute().joinpath(*parts) if home else _system_cache().joinpath("hswish", *parts)


def is_offline() -> bool:
    """Whether the user wants nothing fetched: `HSWISH_OFFLINE`, or the hub's own `HF_HUB_OFFLINE`."""
    return any(
        os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off")
        for name in ("HSWISH_OFFLINE", "HF_HUB_OFFLINE")
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the cached file `path`, its folder made: one process fetches it, the others wait and find it.

    Raises:
        SaveError: the cache is not writable or full; also for such an error of the body.
        MissingPackageError: filelock is not installed.
    """
    try:
        from filelock import FileLock
    except ModuleNotFoundError as error:
        raise MissingPackageError("filelock", "hub", "fetching model files") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            yield
    except OSError as error:
        raise SaveError(
            f"cannot write to the cache {path.parent}: {explain_os_error(error)}; HSWISH_HOME names another"
        ) from error


def _system_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
