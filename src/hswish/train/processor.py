"""What a training process asks of the computer it runs on: memory that it keeps, cores that it shares, bfloat16."""

from __future__ import annotations

import ctypes
import sys

from hswish.spec.cores import available_cores

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _MMAP_MAX = -3, -1, -4
"""mallopt's names in glibc's malloc.h"""
_SMALL_PIXELS = 200 * 200


def keep_memory() -> bool:
    """Have the C library reuse large blocks.

    By default it returns every block of more than 32 MiB to the system, which hands it out again
    page by page, each cleared: up to a fifth of a step's time on a CPU (docs/log.md).

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


def share_cores(input_pixels: int) -> None:
    """Leave half the cores to the loaders where pictures are small and the network is cheap.

    Measured on 2 cores: CIFAR-10 at 64x64 gains 1.1 to 1.4 times, CamVid at 360x480 would lose
    a third (docs/log.md). It must not depend on the number of loaders: another number of threads
    may sum in another order, and equal runs are to stay equal bit for bit.
    """
    import torch

    if input_pixels < _SMALL_PIXELS:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), available_cores() // 2)))


def has_bfloat16() -> bool:
    """Whether torch convolves in bfloat16 by this processor's own instructions.

    Without AVX-512 or ARM's it does so number by number: LR-ASPP Small at 360x480 learnt 1.1 pictures a second
    on a Zen 3, where in float32 it learns 11 (docs/log.md).
    """
    import torch

    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
