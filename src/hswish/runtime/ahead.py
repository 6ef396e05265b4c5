"""Pictures decoded by threads while the network runs: in order, a few ahead, and never too many pixels at once."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

_THREADS = 2


def ahead(
    prepare: Callable[[Given], Made],
    sources: Iterator[Given],
    count: int,
    pixels: Callable[[Made], int],
    most_pixels: int,
) -> Iterator[Made]:
    """`prepare` over `sources` in threads, at most `count` ahead of the consumer, in order.

    What `sources` raises is raised after the results of all that it gave before.

    Args:
        pixels: how many a result holds.
        most_pixels: once so many wait for the consumer, nothing further is begun.
    """
    budget, waiting = _Budget(prepare, pixels, most_pixels), deque[Future[Made]]()
    pool: _Threads[Made] = _Threads(_THREADS)
    numbered, failed = enumerate(sources), None
    try:
        while failed is None:
            try:
                number, source = next(numbered)
            except StopIteration:
                break
            except Exception as error:
                failed = error
                continue
            waiting.append(pool.submit(partial(budget.prepared, number, source)))
            if len(waiting) > count:
                yield budget.handed_on(waiting.popleft())
        while waiting:
            yield budget.handed_on(waiting.popleft())
        if failed is not None:
            raise failed
    finally:  # also when the consumer stops early
        budget.close()
        for item in waiting:
            item.cancel()
        pool.close()


class _Threads(Generic[Made]):
    """Makes what is submitted, in order. Python waits for none of them at its end, as it would for a pool's: one
    may hang on an address."""

    def __init__(self, count: int) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Made], Callable[[], Made]] | None] = queue.SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"hswish-decode-{number}", daemon=True).start()

    def submit(self, make: Callable[[], Made]) -> Future[Made]:
        future: Future[Made] = Future()
        self._tasks.put((future, make))
        return future

    def close(self) -> None:
        """Let the threads end once they have nothing to make."""
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, make = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(make())
                except BaseException as error:  # told to whoever waits for it
                    future.set_exception(error)


class _Budget(Generic[Given, Made]):
    """Lets a thread begin while few pixels wait; the result that the consumer waits for may always be made."""

    def __init__(self, prepare: Callable[[Given], Made], pixels: Callable[[Made], int], most: int) -> None:
        self._prepare, self._pixels, self._most = prepare, pixels, most
        self._waiting_pixels, self._next, self._closed = 0, 0, False
        self._changed = threading.Condition()

    def prepared(self, number: int, source: Given) -> Made:
        """The result of the source of this number, in a thread of the pool."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_begin(number))
        made = self._prepare(source)
        with self._changed:
            self._waiting_pixels += self._pixels(made)
        return made

    def handed_on(self, item: Future[Made]) -> Made:
        """The next result, which leaves the budget."""
        made = item.result()
        with self._changed:
            self._waiting_pixels -= self._pixels(made)
            self._next += 1
            self._changed.notify_all()
        return made

    def close(self) -> None:
        """Let every thread go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may_begin(self, number: int) -> bool:
        return number <= self._next or self._waiting_pixels < self._most or self._closed
