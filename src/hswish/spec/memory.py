"""How much memory is left, so that what cannot fit is refused in words before the system ends the process."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
# Limit and use of the container that this process runs in, by cgroup version 2 and 1.
_CONTAINER = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory.stat")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.stat"),
    ),
)


def free_bytes() -> int | None:
    """Bytes that may still be taken without swapping, the container's limit included; None where nobody tells."""
    known = [found for found in (_of_machine(), *(_of_container(*files) for files in _CONTAINER)) if found is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    return _figure(_MEMINFO, "MemAvailable:", 1024)


def _of_container(limit: Path, used: Path, statistics: Path) -> int | None:
    try:
        left = int(limit.read_text()) - int(used.read_text())  # "max" where there is no limit
    except (OSError, ValueError):
        return None
    # Cached files count as used and are given up on demand.
    return max(0, left + (_figure(statistics, "inactive_file") or 0))


def _figure(file: Path, name: str, unit: int = 1) -> int | None:
    """The number after `name` at the start of a line."""
    try:
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == name:
                return unit * int(rest.split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return None
