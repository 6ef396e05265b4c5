"""Batches for training, loaded by worker processes.

Training order is stateless: the order of an epoch is a pure function of (seed, epoch), so a
run that resumes at (epoch, batch) sees the very batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hswish.data.dataset import PictureDataset, Sample
from hswish.data.loading.order import checked_batch_size, epoch_order
from hswish.data.loading.workers import KeySampler, data_loader
from hswish.data.problems import BadFile
from hswish.data.shards.fetch_ahead import fetching_ahead
from hswish.spec.errors import OptionError


@dataclass(frozen=True)
class Batch:
    """Items for one training step: N is what was asked for, less the bad files."""

    pictures: Tensor
    """(N, C, h, w) float32, normalised; N may be 0 where all files were bad: skip such a batch"""
    targets: Tensor
    """(N,) int64 class indices, or (N, h, w) uint8 masks, 255 where not labelled"""
    indices: Tensor
    """(N,) int64, of the items in their split"""
    bad: tuple[BadFile, ...]
    """files of this batch that could not be used"""

    def __len__(self) -> int:
        return len(self.indices)


def batched(order: Sequence[int], batch_size: int, processes: int = 1, count: int | None = None) -> list[list[int]]:
    """Cut into batches. A last one of a single item, all `processes` counted, is dropped, unless it is the only one.

    Batch norm has no variance over one picture; the item comes again in another epoch.

    Args:
        count: items of all processes, without those that are repeated so that all have as many; all differ if None.
    """
    count = len(order) * processes if count is None else count
    batches = [list(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and count % (batch_size * processes) == 1:
        batches.pop()
    return batches


class TrainLoader:
    """Shuffled batches of a data set, epoch by epoch, from worker processes that stay alive.

    Args:
        dataset: the split to train on.
        batch_size: items in a batch (of each process, where there are several).
        seed: decides the order of every epoch.
        workers: loading processes; 0 loads in this one. `default_workers()` if None.
        rank, world_size: which of how many training processes this is.

    Raises:
        OptionError: a number is out of range.
    """

    def __init__(
        self,
        dataset: PictureDataset,
        *,
        batch_size: int,
        seed: int = 0,
        workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise OptionError(f"rank must be 0 to {world_size - 1}, not {rank}")
        self.dataset, self.batch_size, self.seed = dataset, checked_batch_size(batch_size), seed
        self._rank, self._world_size = rank, world_size
        self._runs = dataset.source.runs(dataset.split)
        self._sampler = KeySampler()
        self._loader = data_loader(dataset, self._sampler, _collate_train, workers, persistent=True)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches(0))

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `start_batch` on. One epoch at a time."""
        batches = self._batches(epoch)[start_batch:]
        self._sampler.batches = [[(epoch, index) for index in batch] for batch in batches]
        loaded = iter(self._loader)  # forks the loading processes, which must be done before there is a thread
        with fetching_ahead(self.dataset.source, self.dataset.items, batches) as ahead:
            for number, batch in enumerate(loaded):
                if ahead is not None:
                    ahead.reached(number)
                yield batch

    def batch_of(self, epoch: int, indices: Sequence[int]) -> Batch:
        """The items `indices` of the split as `epoch` has them, in one batch, loaded here and now."""
        return _collate_train([self.dataset[(epoch, index)] for index in indices])

    def _batches(self, epoch: int) -> list[list[int]]:
        order = epoch_order(len(self.dataset), self.seed, epoch, self._rank, self._world_size, self._runs)
        return batched(order, self.batch_size, self._world_size, len(self.dataset))


def _collate_train(loaded: list[Sample | BadFile]) -> Batch:
    good = [sample for sample in loaded if isinstance(sample, Sample)]
    if len(good) == 1 < len(loaded):
        good = []  # bad files left one picture only, which batch norm could not take
    targets = [sample.target for sample in good]
    return Batch(
        pictures=torch.stack([torch.from_numpy(sample.picture) for sample in good]) if good else torch.empty(0),
        targets=torch.stack([torch.as_tensor(target) for target in targets]) if good else torch.empty(0),
        indices=torch.tensor([sample.index for sample in good], dtype=torch.int64),
        bad=tuple(problem for problem in loaded if isinstance(problem, BadFile)),
    )
