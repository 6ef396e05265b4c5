"""Data sets on disk, joint augmentation of pictures and masks, and batches.

    opening  ->  DataSource  ->  PictureDataset + transform  ->  TrainLoader, EvalLoader
    (layouts/, shards/,  (source)           (dataset, augment/)        (loading/)
     builtin/, splits)

What training alone uses imports torch (in `loading/` and `augment/`), only `augment.pictures` albumentations and only
`builtin.digits` scikit-learn; every name here loads its file when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hswish.data.augment import Augment
    from hswish.data.augment.pictures import EvalTransform, TrainTransform
    from hswish.data.dataset import PictureDataset, Sample, train_dataset
    from hswish.data.loading.eval_loader import EvalBatch, EvalLoader
    from hswish.data.loading.held import HeldLoader
    from hswish.data.loading.loader import Batch, TrainLoader
    from hswish.data.loading.workers import default_workers
    from hswish.data.opening import BUILT_IN, open_data
    from hswish.data.outside import check_outside
    from hswish.data.problems import BadFile, raise_fatal, too_many_bad
    from hswish.data.source import DataSource, Hints, Item
    from hswish.data.statistics import WeightRule, class_frequencies, class_weights, loss_weights

_HOMES = {
    "Augment": "augment",
    "BUILT_IN": "opening",
    "BadFile": "problems",
    "Batch": "loading.loader",
    "DataSource": "source",
    "EvalBatch": "loading.eval_loader",
    "EvalLoader": "loading.eval_loader",
    "EvalTransform": "augment.pictures",
    "HeldLoader": "loading.held",
    "Hints": "source",
    "Item": "source",
    "PictureDataset": "dataset",
    "Sample": "dataset",
    "TrainLoader": "loading.loader",
    "TrainTransform": "augment.pictures",
    "WeightRule": "statistics",
    "check_outside": "outside",
    "class_frequencies": "statistics",
    "class_weights": "statistics",
    "default_workers": "loading.workers",
    "loss_weights": "statistics",
    "open_data": "opening",
    "raise_fatal": "problems",
    "too_many_bad": "problems",
    "train_dataset": "dataset",
}

__all__ = [
    "BUILT_IN",
    "Augment",
    "BadFile",
    "Batch",
    "DataSource",
    "EvalBatch",
    "EvalLoader",
    "EvalTransform",
    "HeldLoader",
    "Hints",
    "Item",
    "PictureDataset",
    "Sample",
    "TrainLoader",
    "TrainTransform",
    "WeightRule",
    "check_outside",
    "class_frequencies",
    "class_weights",
    "default_workers",
    "loss_weights",
    "open_data",
    "raise_fatal",
    "too_many_bad",
    "train_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hswish.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hswish.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
