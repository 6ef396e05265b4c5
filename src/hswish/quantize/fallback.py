"""The worst layers left in float32: ever more of them, until the network loses little enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hswish.quantize.sensitivity import LayerError
from hswish.spec.quantized import QuantizedGraph

COUNTS = (0, 1, 2, 4, 8, 16)
"""Layers that are left in float32, in turn: with more of them little is gained by rounding the others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A network with some layers in float32."""

    net: QuantizedGraph
    kept: tuple[str, ...]
    """names of these layers"""
    lost: float
    """of the score, in the simulator"""


class FallBack:
    """The network with ever more layers left in float32, those first that rounding hurts most.

    Each is made when it is first asked for, and held then: several runtimes may look for the one that suits them.

    Args:
        quantise: the network with the named layers in float32.
        lost: what a network loses.
        worst: its layers by the harm that they do.
    """

    def __init__(
        self,
        quantise: Callable[[frozenset[str]], QuantizedGraph],
        lost: Callable[[QuantizedGraph], float],
        worst: Callable[[QuantizedGraph], Sequence[LayerError]],
    ) -> None:
        self._quantise, self._lost, self._worst = quantise, lost, worst
        self._made: list[Step] = []

    def __iter__(self) -> Iterator[Step]:
        place = 0
        while place < len(self._made) or self._make_next():
            yield self._made[place]
            place += 1

    def worth_trying(self, target: float) -> Iterator[Step]:
        """Those that lose no more than `target`; if none does, the one that loses least."""
        found = False
        for step in self:
            if step.lost <= target:
                found = True
                yield step
        if not found:
            yield min(self._made, key=lambda step: step.lost)

    @cached_property
    def table(self) -> tuple[LayerError, ...]:
        """The layers of the network that is rounded everywhere, the worst first."""
        return tuple(self._worst(next(iter(self)).net))

    @property
    def looked(self) -> bool:
        """Whether the layers have been compared yet, which takes time."""
        return "table" in self.__dict__

    def _make_next(self) -> bool:
        """Make the network with the next number of layers in float32, if there is one."""
        if len(self._made) == len(COUNTS):
            return False
        count = COUNTS[len(self._made)]
        kept = tuple(row.layer for row in self.table[:count]) if count else ()
        if len(kept) < count:
            return False
        net = self._quantise(frozenset(kept))
        self._made.append(Step(net=net, kept=kept, lost=self._lost(net)))
        return True
