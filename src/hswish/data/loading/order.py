"""In which order an epoch visits the items: a pure function of (seed, epoch), so there is nothing to resume.

Single files are visited in a random permutation. Shards are visited in lanes: the shards of the
epoch in random order, each shard's items shuffled, make one row of items, which is cut into 16
equal lanes; items are then taken from the lanes in turn. So a batch always mixes 16 shards, each
shard is read in one piece, and a process of 2, 4, 8 or 16 has lanes, and so shards, of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hswish.spec.errors import OptionError

LANES = 16


def epoch_order(
    count: int, seed: int, epoch: int, rank: int = 0, world_size: int = 1, runs: Sequence[int] = ()
) -> list[int]:
    """Indices 0 to count - 1 in the order of an epoch, or the share of one of several processes.

    With several, the first few indices are repeated at the end so that all have as many. The
    batches of all processes together are those of a single one with the larger batch.

    Args:
        runs: lengths of the runs of items that lie in one shard, in order; empty for single files.
    """
    generator = np.random.default_rng((seed, epoch))
    order = _in_lanes(runs, generator) if runs else generator.permutation(count)
    share = -(-count // world_size)
    return np.resize(order, share * world_size)[rank::world_size].tolist()


def _in_lanes(runs: Sequence[int], generator: np.random.Generator) -> NDArray[np.int64]:
    starts = [0, *itertools.accumulate(runs)]
    shards = generator.permutation(len(runs))
    row = np.concatenate([starts[shard] + generator.permutation(runs[shard]) for shard in shards])
    longer = len(row) % LANES  # so many lanes have one item more, the first ones, or taking turns would leave gaps
    ends = np.cumsum([len(row) // LANES + (lane < longer) for lane in range(LANES)])
    lanes = np.split(row, ends[:-1])
    order = np.empty_like(row)
    for number, lane in enumerate(lanes):
        order[number::LANES] = lane
    return order


def checked_batch_size(batch_size: int) -> int:
    """`batch_size` itself.

    Raises:
        OptionError: it is below 1.
    """
    if batch_size < 1:
        raise OptionError(f"batch_size must be 1 or more, not {batch_size}")
    return batch_size
