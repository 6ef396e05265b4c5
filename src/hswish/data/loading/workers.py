"""The worker processes that load a data set, and how many of them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from hswish.data.dataset import Key, PictureDataset
from hswish.spec.cores import available_cores
from hswish.spec.errors import HswishError, OptionError

_MAX_WORKERS = 8
_MIN_SHARED_BYTES = 256 << 20


def default_workers() -> int:
    """Loading processes that suit this machine: one a core, at most eight.

    0 (this process loads) where shared memory is tiny (a container's default is 64 MB), for a
    batch passes through it and the system kills a process that finds it full.
    """
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free < _MIN_SHARED_BYTES:
        return 0
    return min(available_cores(), _MAX_WORKERS)


@contextmanager
def worker_deaths(remedy: str) -> Iterator[None]:
    """Turn the death of a loading process, which torch reports at any line of ours, into one clear line.

    Raises:
        HswishError: a loading process was killed; ends in `remedy`.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise HswishError(f"a loading process was killed, often for want of memory; {remedy}") from error


class KeySampler(Sampler[list[Key]]):
    """Hands out whatever batches of keys it was given last."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def data_loader(
    dataset: PictureDataset, sampler: KeySampler, collate: Any, workers: int | None, persistent: bool
) -> DataLoader[Any]:
    """A torch loader of `sampler`'s batches with this many workers (None: as many as suit).

    Raises:
        OptionError: not a number of workers.
    """
    count = default_workers() if workers is None else workers
    if not 0 <= count <= 256:
        raise OptionError(f"workers must be 0 to 256, not {count}")
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # __len__ and __getitem__ are all that torch calls
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=count,
        persistent_workers=persistent and count > 0,
        multiprocessing_context="fork" if count else None,
        worker_init_fn=_start_worker,
        # Its own generator: drawing from torch's global one would change dropout on resume.
        generator=torch.Generator(),
    )


def _start_worker(worker: int) -> None:
    # A terminal's Ctrl-C and a batch system's SIGTERM go to the whole process group. The main
    # process finishes its step first and then says goodbye itself, by a SIGTERM to each worker.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
