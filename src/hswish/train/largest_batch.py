"""The largest batch that fits into memory, measured on a throw-away copy of the network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hswish.data import Batch
from hswish.models import DescribedModule
from hswish.spec.errors import OptionError
from hswish.spec.memory import free_bytes
from hswish.train.devices import Devices
from hswish.train.learner import Learner
from hswish.train.recipe import Recipe
from hswish.train.teachers.several import AnyTeacher

_SHARE = 0.8
"""Part of the free memory that a step may take; the rest is for loaders, validation and bad luck."""
_MOST = 4096
_TRIALS = (2, 6)
_UNTOLD = 4 << 30
"""Bytes that are taken to be free where the system does not say."""


def largest_batch(
    model: DescribedModule, recipe: Recipe, devices: Devices, pictures: int, teacher: AnyTeacher | None = None
) -> int:
    """Pictures that the steps of `recipe` can take at once; no more than its share of all `pictures`.

    Memory grows with the batch along a line, which two small steps give; on a GPU the size it
    promises is then tried. Below 8 any number, above it a multiple of 8, which suits the hardware.

    Raises:
        OptionError: not even two pictures fit, which is what batch norm needs.
    """
    learner = Learner(copy.deepcopy(model), recipe, devices, teacher=teacher)
    learner.begin_epoch(recipe.finetune.freeze_epochs)  # nothing frozen: the larger half of the run
    budget = _SHARE * (_free_bytes(devices) - (pictures * _picture_bytes(model) if recipe.held else 0))
    few, more = _TRIALS
    _cost(learner, few)  # the first step also allocates the optimizer's state
    low, high = _cost(learner, few), _cost(learner, more)
    each = max(1.0, (high - low) / (more - few))
    size = _usual(min(pictures // devices.world_size, _MOST, int(few + (budget - low) / each)))
    while size >= 2 and devices.device.type == "cuda":
        try:
            _cost(learner, size)
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            size = _usual(int(size * 0.8))
    if size < 2:
        raise OptionError("--batch-size auto: not even two pictures fit into memory; use a smaller --size")
    return size


def what_limits(size: int, pictures: int) -> str:
    """Why `largest_batch` found no more than `size` where each process has so many `pictures`, for a note."""
    if size < _usual(min(pictures, _MOST)):
        return "the largest that fits"
    return "as many as the training pictures allow" if pictures <= _MOST else "the largest that is tried"


def _usual(size: int) -> int:
    return size if size < 8 else size // 8 * 8


def _cost(learner: Learner, size: int) -> int:
    """Bytes that a step over `size` made-up pictures takes."""
    preprocess = learner.model.preprocess
    height, width = preprocess.height, preprocess.width
    masks = learner.model.description.task == "segmentation"
    batch = Batch(
        pictures=torch.zeros(size, preprocess.channel_count, height, width),
        targets=torch.zeros((size, height, width) if masks else size, dtype=torch.uint8 if masks else torch.int64),
        indices=torch.arange(size),
        bad=(),
    )
    batch.pictures.normal_()
    with _peak(learner.devices.device) as bytes_:
        learner.step([batch], 0, lr=0.0)
    return bytes_[0]


@contextmanager
def _peak(device: torch.device) -> Iterator[list[int]]:
    """Bytes taken at most inside the context: all on a GPU; on a CPU, what is kept for the backward pass."""
    result = [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield result
        result[0] = torch.cuda.max_memory_allocated(device)
        return
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage: Any = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield result
    result[0] = sum(kept.values())


def _free_bytes(devices: Devices) -> int:
    """Memory that this process may still take."""
    if devices.device.type == "cuda":
        return torch.cuda.mem_get_info(devices.device)[0]
    return (free_bytes() or _UNTOLD) // devices.local_world_size


def _picture_bytes(model: DescribedModule) -> int:
    """Of one picture that the device holds, and of its mask."""
    preprocess = model.preprocess
    planes = preprocess.channel_count + (model.description.task == "segmentation")
    return planes * preprocess.height * preprocess.width
