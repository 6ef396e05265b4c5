"""Enlarging a map by whole factors, as many small products of matrices.

A bilinear enlargement is one down the rows and one across the columns, and either makes `factor` lines from any three
neighbours by the same weights; so, of every `some` lines and the two beside them, factor * some. First the columns are
laid out in such groups, which is cheap of a small map. Then each group of rows is enlarged, (factor * some, some + 2) @
(some + 2, columns). Then all groups of columns by one product with a constant matrix, (channels * height * groups,
some + 2) @ (some + 2, factor * some), which lies in memory as the picture does. A runtime's product of matrices writes
these in half the time of its general resize (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hswish.spec import graph as g

_MOST_LINES = 4
"""lines enlarged by one product; more multiply by more zeros"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bands:
    """What `lines` (rows or columns) are multiplied by."""

    taken: NDArray[np.int64]
    """(groups, some + 2): the lines that each product takes, those over the edges being the edge's own"""
    weight: NDArray[np.float32]
    """(factor * some, some + 2)"""
    lines: int

    @property
    def picks(self) -> NDArray[np.float32]:
        """(groups * (some + 2), lines): `taken` as a matrix, for a runtime that multiplies quicker than it gathers."""
        made: NDArray[np.float32] = np.eye(self.lines, dtype=np.float32)[self.taken.reshape(-1)]
        return made


def bands(lines: int, enlarged: int) -> Bands | None:
    """How `lines` become `enlarged` lines, pixel centres as in half_pixel; None unless by a whole factor from 2 on."""
    factor, rest = divmod(enlarged, lines)
    if rest or factor < 2:
        return None
    some = max(count for count in range(1, _MOST_LINES + 1) if lines % count == 0)
    taken = np.arange(lines).reshape(-1, some)[:, :1] + np.arange(-1, some + 1)
    at = (np.arange(factor * some) + 0.5) / factor + 0.5  # counted from the first line taken
    before = np.floor(at).astype(np.int64)
    weight = np.zeros((factor * some, some + 2))
    place = np.arange(len(at))
    weight[place, before] += 1 - (at - before)
    weight[place, before + 1] += at - before
    return Bands(taken=taken.clip(0, lines - 1), weight=weight.astype(np.float32), lines=lines)


@dataclass(frozen=True, kw_only=True, eq=False)
class Enlargement:
    """How the logits of a small map become those of the whole picture."""

    down: Bands
    across: Bands


def enlargement(graph: g.Graph, node: g.Resize) -> Enlargement | None:
    """How `node` enlarges; None where it does not make the answer, or not by whole factors."""
    last = graph[graph.output]
    is_answer = node is last or (isinstance(last, g.ArgMax) and last.inputs[0] == node.name)
    if not is_answer or node.align_corners:
        return None
    small, large = graph.shape(node.inputs[0])[2:], node.shape[2:]
    down, across = (bands(lines, enlarged) for lines, enlarged in zip(small, large, strict=True))
    return None if down is None or across is None else Enlargement(down=down, across=across)
