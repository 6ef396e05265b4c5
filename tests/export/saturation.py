"""How many bits weights may have on this processor, for a runtime to answer as the simulated network does."""

from __future__ import annotations

from typing import Literal

from hswish.export.int8 import OVERFLOWING
from hswish.runtime.native import has_vnni


def weight_bits_here(format: str) -> Literal[7, 8]:
    """7 where the runtime's sums of products would overflow."""
    return 7 if format in OVERFLOWING and not has_vnni() else 8
