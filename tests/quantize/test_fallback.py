"""Layers left in float32: made one network after the other, when one is asked for."""

from __future__ import annotations

import pytest

from hswish.quantize.fallback import FallBack
from hswish.quantize.sensitivity import LayerError
from hswish.spec.graph import INPUT, Graph
from hswish.spec.quantized import QuantizedGraph

LOST = {0: 0.2, 1: 0.1, 2: 0.12, 4: 0.01, 8: 0.0}
"""By the number of layers in float32."""


class Made:
    """A network of eight layers, and which numbers of them it was rounded without."""

    def __init__(self, lost: dict[int, float] = LOST) -> None:
        self.tried: list[int] = []
        self.compared = 0
        self.fallback = FallBack(self.quantise, lambda net: lost[int(net.notes["kept"])], self.worst)

    def quantise(self, kept: frozenset[str]) -> QuantizedGraph:
        self.tried.append(len(kept))
        graph = Graph(input_shape=(1, 3, 8, 8), nodes=(), output=INPUT)
        return QuantizedGraph(graph=graph, values={}, scales={}, notes={"kept": str(len(kept))})

    def worst(self, net: QuantizedGraph) -> list[LayerError]:
        self.compared += 1
        return [LayerError(layer=name, error=1 / place) for place, name in enumerate("abcdefgh", 1)]

    def counts(self, target: float) -> list[int]:
        """Layers in float32 of those worth trying."""
        return [len(step.kept) for step in self.fallback.worth_trying(target)]


def test_layers_are_left_in_float_until_little_is_lost() -> None:
    made = Made()
    step = next(made.fallback.worth_trying(0.02))
    assert (step.kept, step.lost) == (("a", "b", "c", "d"), 0.01)
    assert made.tried == [0, 1, 2, 4]


def test_layers_are_not_compared_without_need() -> None:
    made = Made()
    step = next(made.fallback.worth_trying(0.5))
    assert (step.kept, made.tried, made.compared, made.fallback.looked) == ((), [0], 0, False)
    assert [row.layer for row in made.fallback.table] == list("abcdefgh")
    assert made.fallback.looked


@pytest.mark.parametrize(("target", "counts"), [(0.02, [4, 8]), (0.1, [1, 4, 8]), (1.0, [0, 1, 2, 4, 8])])
def test_whoever_is_not_content_gets_the_next(target: float, counts: list[int]) -> None:
    made = Made()
    assert made.counts(target) == counts
    assert made.counts(target) == counts
    assert (made.tried, made.compared) == ([0, 1, 2, 4, 8], 1), "each is made once"


def test_where_none_suits_the_best_is_given() -> None:
    assert Made({0: 0.2, 1: 0.1, 2: 0.12, 4: 0.3, 8: 0.3}).counts(0.02) == [1]
