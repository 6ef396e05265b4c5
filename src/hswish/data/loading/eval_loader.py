"""Batches for evaluation and calibration, read by threads. No torch.

Threads suffice here: decoding, resizing and normalising happen in Pillow and numpy, which let
other threads run meanwhile, and a picture read by a thread need not travel between processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.augment.pictures import EvalTransform
from hswish.data.dataset import PictureDataset, Sample
from hswish.data.loading.order import checked_batch_size
from hswish.data.problems import BadFile
from hswish.data.source import DataSource
from hswish.spec.cores import available_cores
from hswish.spec.errors import OptionError

_MAX_THREADS = 8
_AHEAD = 1
"""Batches read while their user is busy with another."""


@dataclass(frozen=True)
class EvalBatch:
    """Items for evaluation; lists, since pictures may differ in size."""

    pictures: list[NDArray[Any]]
    """(C, h, w) float32 each, or what else the engine takes"""
    targets: list[int | NDArray[np.uint8]]
    """class index, or mask (H, W) at its own size"""
    sizes: list[tuple[int, int]]
    """(H, W) of the pictures as they were read"""
    names: list[str]
    """of the pictures, as an error calls them"""
    indices: list[int]
    """of the items in their split"""
    bad: list[BadFile]
    """files of this batch that could not be used"""

    def __len__(self) -> int:
        return len(self.indices)


class EvalLoader:
    """Batches of a split in its order, preprocessed as prediction does; may be iterated again.

    Args:
        preprocess: a `Preprocess`, or another way from an RGB picture to an engine's input.
        workers: reading threads; 0 reads in the thread that asks. One a core, at most eight, if None.
        limit: take this many items only, evenly spaced so that every class is met.
        share: (rank, processes): of those, every so many-th from the rank-th on.

    Raises:
        DataError: no such split.
        OptionError: a number is out of range.
    """

    def __init__(
        self,
        source: DataSource,
        split: str,
        preprocess: Callable[[Image.Image], NDArray[Any]],
        *,
        batch_size: int,
        workers: int | None = None,
        limit: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if limit is not None and limit < 1:
            raise OptionError(f"limit must be 1 or more, not {limit}")
        if workers is not None and not 0 <= workers <= 256:
            raise OptionError(f"workers must be 0 to 256, not {workers}")
        self._dataset = PictureDataset(source, split, EvalTransform(preprocess))
        self._threads = min(available_cores(), _MAX_THREADS) if workers is None else workers
        count, size = len(self._dataset), checked_batch_size(batch_size)
        taken = min(count, limit or count)
        indices = [index * count // taken for index in range(share[0], taken, share[1])]
        self._batches = [indices[start : start + size] for start in range(0, len(indices), size)]

    def __len__(self) -> int:
        """Batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[EvalBatch]:
        if not self._threads:
            yield from (self._collated([self._dataset[index] for index in batch]) for batch in self._batches)
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hswish-read")
        waiting: deque[list[Future[Sample | BadFile]]] = deque()
        try:
            for batch in self._batches:
                waiting.append([pool.submit(self._dataset.__getitem__, index) for index in batch])
                if len(waiting) > _AHEAD:
                    yield self._collated([item.result() for item in waiting.popleft()])
            while waiting:
                yield self._collated([item.result() for item in waiting.popleft()])
        finally:  # also when the consumer stops early
            pool.shutdown(cancel_futures=True)

    def _collated(self, loaded: list[Sample | BadFile]) -> EvalBatch:
        good = [sample for sample in loaded if isinstance(sample, Sample)]
        return EvalBatch(
            pictures=[sample.picture for sample in good],
            targets=[sample.target for sample in good],
            sizes=[sample.size for sample in good],
            names=[self._dataset.source.label(self._dataset.items[sample.index]) for sample in good],
            indices=[sample.index for sample in good],
            bad=[problem for problem in loaded if isinstance(problem, BadFile)],
        )
