"""Enlarging the rows of a map by a whole factor, as many small products of matrices.

A bilinear enlargement is one across and one down the rows, and the latter makes `factor` rows from any three
neighbours by the same weights: (factor * some, some + 2) @ (some + 2, width) for every `some` rows. A runtime's product
of matrices writes these in half the time of its general resize (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_ROWS = 5
"""rows enlarged by one product; more multiply by more zeros"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bands:
    """What `rows` are multiplied by."""

    rows: NDArray[np.int64]
    """(bands, some + 2): the rows that each product takes, those over the edges being the edge's own"""
    weight: NDArray[np.float32]
    """(factor * some, some + 2)"""


def bands(rows: int, enlarged: int) -> Bands | None:
    """How `rows` become `enlarged` rows, pixel centres as in half_pixel; None unless by a whole factor from 2 on."""
    factor, rest = divmod(enlarged, rows)
    if rest or factor < 2:
        return None
    some = max(count for count in range(1, _MOST_ROWS + 1) if rows % count == 0)
    taken = np.arange(rows).reshape(-1, some)[:, :1] + np.arange(-1, some + 1)
    at = (np.arange(factor * some) + 0.5) / factor + 0.5  # counted from the first row taken
    above = np.floor(at).astype(np.int64)
    weight = np.zeros((factor * some, some + 2))
    place = np.arange(len(at))
    weight[place, above] += 1 - (at - above)
    weight[place, above + 1] += at - above
    return Bands(rows=taken.clip(0, rows - 1), weight=weight.astype(np.float32))
