"""Batches for training from pictures that lie on the device, where they are augmented too.

A split that fits into the device's memory is decoded once and held as bytes. From then on no loading process
is needed, and a batch costs one small copy to the device: which items, and what is random about them.

As with `loader`, all of it is a function of (seed, epoch, batch), so a run resumes at any batch. Each of several
processes draws for the batch of all and takes its own rows, so together they augment as one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hswish.data.augment.batches import BatchAugment
from hswish.data.augment.pictures import Target, TrainTransform
from hswish.data.dataset import PictureDataset, Sample
from hswish.data.loading.loader import Batch, batched
from hswish.data.loading.order import checked_batch_size, epoch_order
from hswish.data.loading.recorded import Recorded
from hswish.data.loading.workers import KeySampler, data_loader, worker_deaths
from hswish.data.problems import BadFile, raise_fatal
from hswish.data.shards.fetch_ahead import fetching_ahead
from hswish.data.splits import stable_hash
from hswish.spec.errors import DataError, OptionError
from hswish.spec.preprocess import Preprocess

_AT_ONCE = 64
"""Pictures that a loading process hands over together."""
_NO_CLASS = 256
"""No mask has it: an item that borrows nothing."""


class FitTransform:
    """A picture and its mask as evaluation would show them to the network, still in bytes."""

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self._of_masks = Preprocess.from_dict({**preprocess.to_dict(), "interpolation": "nearest"})

    def __call__(self, picture: Image.Image, target: Target, seed: int = 0) -> tuple[NDArray[Any], Target]:
        """8-bit RGB to (H, W, C) uint8; a mask moves along, by the nearest pixel. What fits already is left alone."""
        wanted = self.preprocess.width, self.preprocess.height
        if picture.size != wanted:
            picture = self.preprocess.resized(picture)
            if not isinstance(target, int):
                target = np.asarray(self._of_masks.resized(Image.fromarray(target)))
        return np.ascontiguousarray(self.preprocess.ordered(np.asarray(picture))), target


@dataclass(frozen=True)
class _Held:
    """A decoded split, less its bad files: M items of it."""

    pictures: Tensor
    """(M, H, W, C) uint8, on the device"""
    targets: Tensor
    """(M,) int64 or (M, H, W) uint8, on the device"""
    items: NDArray[np.int64]
    """(M,) indices in the split, ascending"""
    runs: tuple[int, ...]
    """lengths of the runs of these items that lie in one shard; empty for single files"""
    bad: tuple[BadFile, ...]


class _Share(NamedTuple):
    """What a process has of a batch of all processes."""

    rows: NDArray[np.int64]
    """(N,) which of its items"""
    total: int
    """how many items it has"""


class HeldLoader:
    """Shuffled batches of a split that the device holds; to be used as a `TrainLoader`.

    The split is decoded at first use, be it `len` or `epoch`: only then is it known which files are bad.

    Args:
        dataset: the split to train on, with a `TrainTransform`, whose augmentation is then done on the device.
        batch_size: items in a batch (of each process, where there are several).
        device: holds the pictures and gives the batches.
        seed: decides the order of every epoch and the augmentation of every batch.
        workers: processes that decode; 0 decodes in this one. `default_workers()` if None.
        rank, world_size: which of how many training processes this is; each holds the whole split.

    Raises:
        OptionError: a number is out of range, or the dataset has no augmentation.
    """

    def __init__(
        self,
        dataset: PictureDataset,
        *,
        batch_size: int,
        device: torch.device,
        seed: int = 0,
        workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise OptionError(f"rank must be 0 to {world_size - 1}, not {rank}")
        transform = dataset.transform
        if not isinstance(transform, TrainTransform):
            raise OptionError(
                f"{dataset.source.location}: held pictures need a TrainTransform; make them by train_dataset"
            )
        self.dataset, self.batch_size, self.seed, self.device = dataset, checked_batch_size(batch_size), seed, device
        self.augment = BatchAugment(transform.augment, transform.preprocess, transform.task)
        self._rank, self._world_size, self._workers = rank, world_size, workers
        self._decoded: _Held | None = None
        self._recorded = Recorded(self._picked) if device.type == "cuda" else None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches(0))

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `start_batch` on; the first one names the bad files.

        Raises:
            DataError: pictures of several sizes, or a data set that contradicts itself.
            OptionError: the device's memory is too small.
        """
        bad = self._held.bad
        for number, places in enumerate(self._batches(epoch)[start_batch:], start_batch):
            yield self._batch(epoch, number, np.array(places, np.int64), bad, self._share(number, len(places)))
            bad = ()

    def batch_of(self, epoch: int, indices: Sequence[int]) -> Batch:
        """The items `indices` of the split, as `epoch` might have them, in one batch; bad files are left out."""
        kept = self._held.items
        places = [place for index in indices for place in np.flatnonzero(kept == index).tolist()]
        return self._batch(epoch, 0, np.array(places, np.int64), (), _Share(np.arange(len(places)), len(places)))

    @property
    def _held(self) -> _Held:
        if self._decoded is None:
            self._decoded = _decoded(self.dataset, self.augment.preprocess, self.device, self._workers)
        return self._decoded

    def _batches(self, epoch: int) -> list[list[int]]:
        """Places in what is held, batch by batch; one empty batch, to name the bad files, where all are bad."""
        count = len(self._held.items)
        if not count or count == 1 < len(self.dataset):  # batch norm could not take the only one left
            return [[]]
        order = epoch_order(count, self.seed, epoch, self._rank, self._world_size, self._held.runs)
        return batched(order, self.batch_size, self._world_size, count)

    def _share(self, number: int, size: int) -> _Share:
        """Which of the items of batch `number`, all processes' together, are the `size` of this one."""
        whole = self.batch_size * self._world_size
        total = min(whole, len(self._held.items) - number * whole)
        # An item that is repeated, so that all processes have as many, is augmented as the batch's first ones are.
        return _Share((self._rank + self._world_size * np.arange(size)) % max(total, 1), total)

    def _batch(
        self, epoch: int, number: int, places: NDArray[np.int64], bad: tuple[BadFile, ...], share: _Share
    ) -> Batch:
        held, indices = self._held, self._held.items[places]
        if not len(places):
            return Batch(torch.empty(0), torch.empty(0), torch.from_numpy(indices), bad)
        generator = np.random.default_rng((self.seed, epoch, number, 0))  # 0, as one process always had it
        pictures, targets = self._augmented(places, generator, share)
        lenders = self.dataset.lenders
        if lenders is not None and lenders.lenders and held.targets.ndim > 1:
            sources, labels = self._borrowed(epoch, indices, places)
            lent, shown = self._augmented(sources, generator, share)
            things = shown == self._moved(torch.from_numpy(labels))[:, None, None]
            pictures = torch.where(things[:, None], lent, pictures)
            targets = torch.where(things, shown, targets)
        return Batch(pictures, targets, torch.from_numpy(indices), bad)

    def _augmented(
        self, places: NDArray[np.int64], generator: np.random.Generator, share: _Share
    ) -> tuple[Tensor, Tensor]:
        """Pictures (N, C, h, w) and targets of the items at these places, augmented."""
        held = self._held
        height, width = held.pictures.shape[1:3]
        drawn = self._moved(self.augment.draw(generator, share.total, (height, width))[torch.from_numpy(share.rows)])
        where = self._moved(torch.from_numpy(places))
        if self._recorded is None:
            return self._picked(where, drawn)
        pictures, targets = self._recorded(where, drawn)
        return pictures.clone(), targets.clone()  # the next replay writes there

    def _picked(self, where: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """What is held at the places `where` (N,), augmented as `drawn`."""
        held = self._held
        pictures, targets = held.pictures.index_select(0, where), held.targets.index_select(0, where)
        pictures, masks = self.augment.apply(pictures, targets if targets.ndim > 1 else None, drawn)
        return pictures, targets if masks is None else masks

    def _borrowed(
        self, epoch: int, indices: NDArray[np.int64], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each item the place of its lender and the class that is lent, both (N,); drawn as `dataset` draws."""
        sources, labels = places.copy(), np.full(len(places), _NO_CLASS)
        assert self.dataset.lenders is not None
        for row, index in enumerate(indices.tolist()):
            drawn = self.dataset.lenders.draw(stable_hash(self.dataset.seed, epoch, index, "lender"))
            if drawn is None:
                continue
            place = int(np.searchsorted(self._held.items, drawn[0]))
            if place < len(self._held.items) and self._held.items[place] == drawn[0]:  # else it could not be read
                sources[row], labels[row] = place, drawn[1]
        return sources, labels

    def _moved(self, values: Tensor) -> Tensor:
        """On the device; from pinned memory, so that the copy to a GPU waits for nothing."""
        if self.device.type == "cuda":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)


def _decoded(dataset: PictureDataset, preprocess: Preprocess, device: torch.device, workers: int | None) -> _Held:
    """Decode the whole split, straight into the device's memory."""
    plain = PictureDataset(dataset.source, dataset.split, FitTransform(preprocess), dataset.seed)
    sampler = KeySampler()
    loader = data_loader(plain, sampler, list, workers, persistent=False)
    count = len(plain)
    batches = [list(range(start, min(start + _AT_ONCE, count))) for start in range(0, count, _AT_ONCE)]
    sampler.batches = [[(0, index) for index in batch] for batch in batches]
    pictures, targets = torch.empty(0), torch.empty(0)
    items: list[int] = []
    bad: list[BadFile] = []
    loaded = iter(loader)  # forks the loading processes, which must be done before there is a thread
    deaths = worker_deaths("try again with --workers 0")
    with deaths, fetching_ahead(plain.source, plain.items, batches) as ahead:
        for number, batch in enumerate(loaded):
            if ahead is not None:
                ahead.reached(number)
            bad += [problem for problem in batch if isinstance(problem, BadFile)]
            raise_fatal(bad)
            good = [sample for sample in batch if isinstance(sample, Sample)]
            if not good:
                continue
            if not items:
                pictures, targets = _room(plain, good[0], device)
            _check_sizes(plain, good, pictures)
            rows = slice(len(items), len(items) + len(good))
            pictures[rows] = torch.from_numpy(np.stack([sample.picture for sample in good])).to(device)
            targets[rows] = torch.from_numpy(np.stack([np.asarray(sample.target) for sample in good])).to(device)
            items += [sample.index for sample in good]
    kept = np.array(items, np.int64)
    runs = dataset.source.runs(dataset.split)
    ends = np.searchsorted(kept, np.cumsum((0, *runs)))
    left = tuple(np.diff(ends).tolist()) if runs else ()
    return _Held(pictures[: len(kept)], targets[: len(kept)], kept, left, tuple(bad))


def _room(dataset: PictureDataset, first: Sample, device: torch.device) -> tuple[Tensor, Tensor]:
    """Empty tensors for all items, of the first one's sizes.

    Raises:
        OptionError: the device has less memory free.
    """
    count = len(dataset)
    mask = isinstance(first.target, np.ndarray)
    shape = first.target.shape if isinstance(first.target, np.ndarray) else ()
    needed = count * (first.picture.nbytes + (first.target.nbytes if isinstance(first.target, np.ndarray) else 8))
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if needed > free:
            raise OptionError(
                f"{dataset.source.location}: to hold its {count} pictures takes "
                f"{needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f} GB free; "
                "leave it to the loaders: --set held=false"
            )
    pictures = torch.empty((count, *first.picture.shape), dtype=torch.uint8, device=device)
    return pictures, torch.empty((count, *shape), dtype=torch.uint8 if mask else torch.int64, device=device)


def _check_sizes(dataset: PictureDataset, samples: list[Sample], pictures: Tensor) -> None:
    """Compare samples with the tensor (M, H, W, C) that is to hold them.

    Raises:
        DataError: one has another size.
    """
    height, width = pictures.shape[1:3]
    for sample in samples:
        if sample.picture.shape[:2] != (height, width):
            raise DataError(
                f"{dataset.source.label(dataset.items[sample.index])}: is {sample.picture.shape[1]}x"
                f"{sample.picture.shape[0]} once scaled, those before it {width}x{height}, and only pictures of one "
                "size can be held; leave it to the loaders: --set held=false"
            )
