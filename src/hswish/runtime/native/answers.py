"""Memory for large answers, taken again once nobody holds the answer that it was lent for.

The system clears fresh memory before it hands it out: 5 of the 88 ms of LR-ASPP Large at 512x1024, whose logits are
40 MB. An answer is an array of its own all the same: its memory comes back only when the array and every view of
it are gone.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_BYTES = 1 << 20
"""malloc keeps smaller ones at hand itself"""
_MOST_BYTES = 1 << 28
"""the answers to a large batch are not kept"""
_ALIGNED = 64
"""bytes of a cache line; the kernels store whole ones past the caches"""


class Answers:
    """Float arrays for answers; the memory of the last one to go is kept. Threads may share it."""

    def __init__(self) -> None:
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=1)

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array of that shape, of any values, that is nobody else's."""
        size = 4 * math.prod(shape)
        if not _LEAST_BYTES <= size <= _MOST_BYTES:
            return np.empty(shape, np.float32)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        if memory.size != size + _ALIGNED:
            memory = np.empty(size + _ALIGNED, np.uint8)
        return np.asarray(_Lent(memory, shape, self._free))


class _Lent:
    """What an answer's array, and each view of it, holds on to; when it goes, the memory goes back."""

    def __init__(self, memory: NDArray[np.uint8], shape: tuple[int, ...], home: deque[NDArray[np.uint8]]) -> None:
        self._memory, self._home = memory, home
        address = memory.ctypes.data
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(np.float32).str,
            "data": (address + -address % _ALIGNED, False),
        }

    def __del__(self) -> None:
        self._home.append(self._memory)
