"""Data sets on disk, joint augmentation of pictures and masks, and batches.

    opening  ->  DataSource  ->  PictureDataset + transform  ->  TrainLoader, EvalLoader
    (layouts, splits,   (source)            (dataset, augment)         (loader, eval_loader)
     shards)

What training alone uses imports torch (`loader`, `held`, `mixing`, `batch_augment`, `workers`, ...), only `augment`
albumentations and only `digits` scikit-learn; every name here loads its file when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hswish.data.augment import Augment, EvalTransform, TrainTransform
    from hswish.data.dataset import PictureDataset, Sample, train_dataset
    from hswish.data.eval_loader import EvalBatch, EvalLoader
    from hswish.data.held import HeldLoader
    from hswish.data.loader import Batch, TrainLoader
    from hswish.data.opening import BUILT_IN, open_data
    from hswish.data.problems import BadFile, raise_fatal, too_many_bad
    from hswish.data.source import DataSource, Hints, Item
    from hswish.data.statistics import WeightRule, class_frequencies, class_weights
    from hswish.data.workers import default_workers

_HOMES = {
    "Augment": "augment",
    "BUILT_IN": "opening",
    "BadFile": "problems",
    "Batch": "loader",
    "DataSource": "source",
    "EvalBatch": "eval_loader",
    "EvalLoader": "eval_loader",
    "EvalTransform": "augment",
    "HeldLoader": "held",
    "Hints": "source",
    "Item": "source",
    "PictureDataset": "dataset",
    "Sample": "dataset",
    "TrainLoader": "loader",
    "TrainTransform": "augment",
    "WeightRule": "statistics",
    "class_frequencies": "statistics",
    "class_weights": "statistics",
    "default_workers": "workers",
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
    "class_frequencies",
    "class_weights",
    "default_workers",
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
