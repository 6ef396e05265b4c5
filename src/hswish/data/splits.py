"""Holding a part of the items out: reproducible, stratified, whatever order the disk lists.

Within a stratum items are ordered by a hash of their name and the seed, so pictures that
are added later move few others: by the number held out, which follows the stratum's size,
and by the strata of masks, which follow the rarity of the classes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hswish.data.source import Item
from hswish.spec.errors import DataError

HELD_OUT = 0.2
"""Part of train that becomes val where there is none."""
MAX_MASKS = 2000  # beyond that many, sheer numbers make a random split representative


def stable_hash(*parts: object) -> int:
    """64 bits from the parts, the same in every process and on every machine."""
    text = "\0".join(str(part) for part in parts).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def hold_out(
    items: Sequence[Item], strata: Sequence[Hashable], fraction: float, seed: int
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Divide into (kept, held out), each stratum by itself and each sorted by name.

    Of a stratum of two or more, at least one item goes to either side; a single one is kept.
    """
    groups: defaultdict[Hashable, list[Item]] = defaultdict(list)
    for item, stratum in zip(items, strata, strict=True):
        groups[stratum].append(item)
    held: set[Item] = set()
    for group in groups.values():
        group.sort(key=lambda item: stable_hash(seed, item.picture))
        count = min(max(1, round(fraction * len(group))), len(group) - 1)
        held.update(group[:count])
    ordered = sorted(items, key=lambda item: item.picture)
    return tuple(item for item in ordered if item not in held), tuple(item for item in ordered if item in held)


def mask_strata(
    items: Sequence[Item], read_mask: Callable[[Item], NDArray[np.uint8]], num_classes: int
) -> list[Hashable]:
    """For each item the rarest class that its mask shows: so rare classes come to both sides."""
    if len(items) > MAX_MASKS:
        return [0] * len(items)

    def shown(item: Item) -> NDArray[np.bool_]:
        try:
            mask = read_mask(item)
        except DataError:  # the loader will name it
            return np.zeros(num_classes, bool)
        return np.bincount(mask[::2, ::2].ravel(), minlength=256)[:num_classes] > 0

    with ThreadPoolExecutor(4) as pool:  # decoding releases the interpreter's lock
        present = np.array(list(pool.map(shown, items)))
    rarity = np.where(present, present.sum(0), len(items) + 1)
    return rarity.argmin(1).tolist()
