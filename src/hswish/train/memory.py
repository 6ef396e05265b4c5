"""Memory that a training process keeps instead of giving it back after every step."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _MMAP_MAX = -3, -1, -4
"""mallopt's names in glibc's malloc.h"""


def keep_memory() -> bool:
    """Have the C library reuse large blocks.

    By default it returns every block of more than 32 MiB to the system, which hands it out again
    page by page, each cleared: a quarter of a step's time on a CPU (docs/log.md).

    Returns:
        Whether the C library could be told; only glibc can.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_MMAP_THRESHOLD, 2**30))
