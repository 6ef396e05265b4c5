"""Shards from the web fetched in the background, before the loading processes ask for them.

Without it a batch that is the first to need a shard would wait for the download; with it the
next few shards come while the network learns from the present ones.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from hswish.data.loading.order import LANES
from hswish.data.shards.cache import cache_capacity
from hswish.data.shards.store import ShardStore
from hswish.data.source import DataSource, Item, shard_of
from hswish.data.tree import Tree
from hswish.spec.errors import HswishError

_AHEAD = 4
"""Shards that are fetched before the batch that needs them is asked for."""


class FetchAhead:
    """The order in which an epoch comes to its shards, and how far the epoch is."""

    def __init__(self, store: ShardStore, items: Sequence[Item], batches: Sequence[Sequence[int]]) -> None:
        """`batches`: indices of the items of each batch, in order."""
        self._store = store
        self._first_use: list[tuple[int, str]] = []
        known: set[str] = set()
        for number, batch in enumerate(batches):
            for shard in (shard_of(items[index].picture) for index in batch):
                if shard not in known:
                    known.add(shard)
                    self._first_use.append((number, shard))
        self._batch = 0
        self._stopped = False
        self._moved = threading.Condition()

    def reached(self, batch: int) -> None:
        """The epoch has come to this batch."""
        with self._moved:
            self._batch = batch
            self._moved.notify()

    def stop(self) -> None:
        """Fetch no further shard."""
        with self._moved:
            self._stopped = True
            self._moved.notify()

    def run(self) -> None:
        """Fetch one shard after the other, a few ahead of the epoch; the work of a thread."""
        for place, (_, shard) in enumerate(self._first_use):
            needed_from = self._first_use[max(0, place - _AHEAD)][0]
            with self._moved:
                self._moved.wait_for(partial(self._is_due, needed_from))
                if self._stopped:
                    return
            try:
                self._store.fetch(shard)
            except HswishError:  # whoever reads the shard will meet it, and say so
                return

    def _is_due(self, batch: int) -> bool:
        return self._stopped or self._batch >= batch


@contextmanager
def fetching_ahead(
    source: DataSource, items: Sequence[Item], batches: Sequence[Sequence[int]]
) -> Iterator[FetchAhead | None]:
    """Fetch the shards of an epoch in the background while the context is open.

    Nothing is done, and None given, where the files are on this disk, or where the cache is so
    small that a shard fetched early would drive out one in use.

    Args:
        items: of the split.
        batches: indices of the items of each batch to come, in order.
    """
    store = source.reader.store if isinstance(source.reader, Tree) else None
    if not isinstance(store, ShardStore) or not store.is_remote:
        yield None
        return
    if cache_capacity() < (LANES + _AHEAD + 1) * store.largest_shard:
        yield None
        return
    ahead = FetchAhead(store, items, batches)
    thread = threading.Thread(target=ahead.run, name="hswish-fetch-ahead", daemon=True)
    thread.start()
    try:
        yield ahead
    finally:
        ahead.stop()
        thread.join(timeout=10)  # a download that hangs must not hold up the end
