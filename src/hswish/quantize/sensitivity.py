"""Which layers rounding hurts most."""

from __future__ import annotations

from collections.abc import Sequence
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
