"""How much an error in each channel of a value moves the answer, by the weights that the channel meets.

An error e in channel c of a layer's input changes its outputs by w e, so by e² sum w[:, c]² in square; what
the outputs count for themselves comes from the layers after. Non-linearities, sums, pooling, resizes and
gates hand the figure on. With it, ranges are those of least error of the output and not of the value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hswish.quantize.places import readers_of
from hswish.spec import graph as g

Channels = NDArray[np.float64]


def importance(graph: g.Graph) -> dict[str, Channels]:
    """(C,) for each value of `graph`, with a mean of 1."""
    readers = readers_of(graph)
    found: dict[str, Channels] = {}
    for name in (*reversed([node.name for node in graph.nodes]), g.INPUT):
        total = np.zeros(graph.shape(name)[1])
        for reader in readers[name]:
            total += _through(reader, name, len(total), found[reader.name])
        mean = total.mean()
        found[name] = total / mean if mean > 0 else np.ones_like(total)
    return found


def _through(reader: g.Node, name: str, channels: int, counted: Channels) -> Channels:
    """What the result of `reader`, of which `counted` is known, says about what it reads."""
    if isinstance(reader, g.Convolution):
        energy = np.square(reader.weight, dtype=np.float64).sum((2, 3)) * counted[:, None]  # (out, in / groups)
        return np.asarray(energy.reshape(reader.groups, -1, energy.shape[1]).sum(1).ravel())
    if isinstance(reader, g.Linear):
        return np.asarray((np.square(reader.weight, dtype=np.float64) * counted[:, None]).sum(0))
    if isinstance(reader, g.Concat):
        return counted[:channels] if reader.inputs[0] == name else counted[-channels:]
    if isinstance(reader, g.Resize) and reader.inputs[0] != name:  # only its size is asked for
        return np.zeros(channels)
    return np.asarray(counted.reshape(channels, -1).mean(1))  # flattened: several numbers a channel
