"""Ranges of the values held in bytes: those with the least error on real pictures.

The extremes that calibration saw make the usual range; a few outliers then cost all other numbers
precision. Here every value's histogram judges narrower ranges by their squared error, in which a channel
counts as much as it moves the answer (`importance.py`). Three things are
exact and cost nothing: an h-swish gives 0 below -3 and an h-sigmoid its limits outside [-3, 3], so what
they read need not be held beyond; and a sigmoid gives 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hswish.quantize.places import readers_of
from hswish.quantize.simulate import Watcher
from hswish.spec import graph as g
from hswish.spec.errors import DataError
from hswish.spec.quantized import LEVELS, Range

_BINS = 2048
_PARTS = np.concatenate([np.linspace(1, 0.6, 21), np.linspace(0.57, 0.15, 15)])
"""Parts of the extremes that are tried on either side."""
_FIXED = {
    "hard_sigmoid": Range(scale=float(np.float32(1 / 255)), zero_point=0),
    "sigmoid": Range(scale=1 / 256, zero_point=0),
}
"""A sigmoid's in LiteRT must be 1/256."""
_OF_H_SWISH = (-3.0, np.inf)
"""What an h-swish tells apart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """How often each number occurs in a value."""

    low: float
    high: float
    counts: NDArray[np.float64]
    """of equal bins from `low` to `high`"""

    @property
    def centres(self) -> NDArray[np.float64]:
        """The numbers that the bins stand for."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[1:] + edges[:-1]) / 2

    def clipped(self, low: float, high: float) -> Histogram:
        """With every number moved into [low, high]."""
        if low <= self.low and self.high <= high:
            return self
        centres = np.clip(self.centres, low, high)
        low, high = max(low, self.low), min(high, self.high)
        if high <= low:
            return Histogram(low=min(low, high), high=max(low, high), counts=np.array([self.counts.sum()]))
        counts, _ = np.histogram(centres, len(self.counts), (low, high), weights=self.counts)
        return Histogram(low=low, high=high, counts=counts)


def histograms(
    graph: g.Graph,
    names: Iterable[str],
    batches: Sequence[NDArray[np.float32]],
    weights: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[str, Histogram]:
    """What the named values of `graph` hold over all of `batches`.

    Args:
        weights: (C,) for each name, how much a number in each channel counts; all alike by default.

    Raises:
        DataError: a value is not finite: the network or the pictures are damaged.
    """
    watcher = Watcher(graph, frozenset(names))
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for seen in watcher.watch(batches):
        for name, value in seen.items():
            low[name] = min(low.get(name, np.inf), float(value.min()))
            high[name] = max(high.get(name, -np.inf), float(value.max()))
    broken = [name for name in low if not np.isfinite([low[name], high[name]]).all()]
    if broken:
        raise DataError(f"{broken[0]}: its values are not finite; the model is damaged, or its pictures are")
    counts = {name: np.zeros(_BINS) for name in low}
    for seen in watcher.watch(batches):
        for name, value in seen.items():
            if high[name] > low[name]:
                counts[name] += _counted(
                    value.float(), low[name], high[name], None if weights is None else weights[name]
                )
    return {name: Histogram(low=low[name], high=high[name], counts=counts[name]) for name in low}


def _counted(value: Tensor, low: float, high: float, weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if weights is None:
        return value.histc(_BINS, low, high).double().numpy()
    spread = torch.from_numpy(weights).float().reshape(1, -1, *[1] * (value.ndim - 2)).expand_as(value)
    counts, _ = torch.histogram(value.flatten(), _BINS, range=(low, high), weight=spread.flatten())
    return counts.double().numpy()


def minmax(histogram: Histogram) -> Range:
    """The range of the extremes."""
    return Range.over(histogram.low, histogram.high)


def least_error(histogram: Histogram) -> Range:
    """The range with the least squared error: its ends are sought in turn."""
    if histogram.high <= histogram.low or len(histogram.counts) == 1:
        return minmax(histogram)
    centres, counts = histogram.centres, histogram.counts

    def error(low: float, high: float) -> float:
        tried = Range.over(low, high)
        codes = np.clip(np.rint(centres / tried.scale) + tried.zero_point, 0, LEVELS)
        return float(counts @ ((codes - tried.zero_point) * tried.scale - centres) ** 2)

    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    for _ in range(2):
        high = min((part * max(histogram.high, 0.0) for part in _PARTS), key=lambda end: error(low, end))
        low = min((part * min(histogram.low, 0.0) for part in _PARTS), key=lambda end: error(end, high))
    return Range.over(low, high)


def value_ranges(
    graph: g.Graph,
    values: frozenset[str],
    found: Mapping[str, Histogram],
    choose: Callable[[Histogram], Range] = least_error,
) -> dict[str, Range]:
    """A range for each of `values`, from histograms of them.

    What only moves numbers (flattening, resizing) keeps the range of what it reads.
    """
    readers = readers_of(graph)
    ranges: dict[str, Range] = {}
    for name in (g.INPUT, *(node.name for node in graph.nodes)):
        if name not in values:
            continue
        node = None if name == g.INPUT else graph[name]
        if isinstance(node, (g.Flatten, g.Resize)) and node.inputs[0] in ranges:
            ranges[name] = ranges[node.inputs[0]]
        elif isinstance(node, g.Activation) and node.kind in _FIXED:
            ranges[name] = _FIXED[node.kind]
        else:
            wanted = needed(readers[name])
            held = choose(found[name].clipped(*wanted))
            ranges[name] = from_minus_three(held) if wanted == _OF_H_SWISH else held
    return ranges


def tied(graph: g.Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """`ranges` with one for each concatenation and all that it reads, for kernels that only put bytes side by side.

    What flattening and resizing made of a value has its range still.
    """
    groups: list[set[str]] = []
    for node in graph.nodes:
        if not isinstance(node, (g.Concat, g.Flatten, g.Resize)):
            continue
        together = {node.name, *(node.inputs if isinstance(node, g.Concat) else node.inputs[:1])}
        if together <= ranges.keys():
            joined = [group for group in groups if group & together]
            groups = [*(group for group in groups if group not in joined), together.union(*joined)]
    found = dict(ranges)
    for group in groups:
        if any(name != g.INPUT and isinstance(graph[name], g.Concat) for name in group):
            low, high = (min(ranges[name].low for name in group), max(ranges[name].high for name in group))
            found.update(dict.fromkeys(group, Range.over(low, high)))
    return found


def from_minus_three(held: Range) -> Range:
    """A range from -3 to the end of `held` or a little further, with 3 a whole number of steps.

    The bytes of x are then those of x + 3 too, with another zero point (`hswish.quantize.splitting`).
    """
    steps = max(1, int(3 * LEVELS / (3 + held.high)))
    return Range(scale=float(np.float32(3 / steps)), zero_point=steps)


def needed(readers: Sequence[g.Node]) -> tuple[float, float]:
    """The numbers that tell those who read a value anything; what lies beyond gives the same as the end."""
    kinds = {reader.kind if isinstance(reader, g.Activation) else None for reader in readers}
    if kinds == {"hard_swish"}:
        return _OF_H_SWISH
    if kinds == {"hard_sigmoid"}:
        return -3.0, 3.0
    if kinds == {"relu"}:
        return 0.0, np.inf
    return -np.inf, np.inf
