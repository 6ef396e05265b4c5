"""Which layers rounding hurts most, and which to leave in float32 for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hswish.quantize.network import GraphNetwork
from hswish.quantize.places import readers_of
from hswish.quantize.simulate import SimulatedNetwork, run
from hswish.spec import graph as g
from hswish.spec.quantized import QuantizedGraph, Range


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """What rounding one layer alone does to the answer."""

    layer: str
    error: float
    """mean squared change of the logits, as a part of their mean square"""


def sensitivity(net: QuantizedGraph, exact: g.Graph, batches: Sequence[NDArray[np.float32]]) -> list[LayerError]:
    """Each layer of `net` rounded alone, in the order of the harm it does; all others compute in float32.

    Args:
        exact: the same operations in float32.
        batches: preprocessed pictures; a few dozen tell the order.
    """
    right = np.concatenate(list(run(GraphNetwork(exact), batches)))
    power = float(np.square(right, dtype=np.float64).mean())
    found = []
    for name in net.scales:
        alone = replace(net, graph=exact, values=_around(net, name), scales={name: net.scales[name]})
        made = np.concatenate(list(run(SimulatedNetwork(alone), batches)))
        error = float(np.square(made - right, dtype=np.float64).mean())
        found.append(LayerError(layer=name, error=error / max(power, 1e-30)))
    return sorted(found, key=lambda row: -row.error)


def _around(net: QuantizedGraph, name: str) -> dict[str, Range]:
    """The ranges of what a layer reads, and of what the step that it begins gives."""
    readers = readers_of(net.graph)
    wanted, value = {net.graph[name].inputs[0], name}, name
    while value not in net.values and len(readers[value]) == 1:
        value = readers[value][0].name
        wanted.add(value)
    act = next((reader for reader in readers[name] if isinstance(reader, g.Activation)), None)
    if act is not None:
        wanted.add(act.name)
    return {value: held for value, held in net.values.items() if value in wanted}


def fall_back(
    quantise: Callable[[frozenset[str]], QuantizedGraph],
    drop: Callable[[QuantizedGraph], float],
    worst: Callable[[QuantizedGraph], Sequence[str]],
    target: float,
    most: int = 16,
) -> tuple[QuantizedGraph, tuple[str, ...], float]:
    """The network with the fewest layers left in float32 (0, 1, 2, 4, ...) that loses no more than `target`.

    Args:
        quantise: the network with the named layers in float32.
        drop: what a network loses.
        worst: layers by the harm they do.
        most: layers that may be left; if that is not enough, the best network found is given.

    Returns:
        The network, the layers left in float32, and what it loses.
    """
    net = quantise(frozenset())
    best: tuple[QuantizedGraph, tuple[str, ...], float] = (net, (), drop(net))
    if best[2] <= target:
        return best
    order = worst(net)
    count = 1
    while count <= min(most, len(order)):
        kept = tuple(order[:count])
        net = quantise(frozenset(kept))
        lost = drop(net)
        if lost < best[2]:
            best = (net, kept, lost)
        if lost <= target:
            break
        count *= 2
    return best
