"""How often each class occurs, and the weights of a loss that makes up for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hswish.data.problems import too_many_bad
from hswish.data.source import DataSource, Item
from hswish.spec.cores import available_cores
from hswish.spec.errors import DataError, PictureError, unknown_name

WeightRule = Literal["none", "inverse_log", "median"]


def class_frequencies(source: DataSource, split: str) -> NDArray[np.int64]:
    """Pictures (classification) or labelled pixels (segmentation) of each class, (K,).

    Every mask of the split is decoded and checked on the way, so a data set that
    contradicts itself fails here, before training starts. Of shards the index says it, whose
    maker has checked the masks.

    Raises:
        DataError: no such split, a mask that contradicts its picture or the classes, more
            than a tenth of the files unreadable, or not one labelled pixel.
    """
    items = source.items(split)
    count = len(source.classes)
    if source.task == "classification":
        return np.bincount([int(item.target) for item in items], minlength=count)
    known = source.known.frequencies.get(split)
    total = mask_counts(source, split).sum(0) if known is None else np.array(known, np.int64)
    if not total.any():
        raise DataError(f"{source.location}: no pixel of {split} is labelled, every mask is 255 throughout")
    return total


def mask_counts(source: DataSource, split: str) -> NDArray[np.int64]:
    """Labelled pixels of each class in each mask of a split, (N, K), every mask decoded and checked.

    Raises:
        DataError: no such split, a mask that contradicts its picture or the classes, or more
            than a tenth of the files unreadable (the others count as empty).
    """
    items, count = source.items(split), len(source.classes)
    bad: dict[str, str] = {}

    def count_pixels(item: Item) -> NDArray[np.int64]:
        try:
            mask = source.read_mask(item)
            source.check_mask(item, mask, source.reader.size(item.picture))
        except PictureError as error:
            bad[error.name] = error.reason
            return np.zeros(count, np.int64)
        return np.bincount(mask.ravel(), minlength=256)[:count]

    with ThreadPoolExecutor(min(8, available_cores())) as pool:  # decoding releases the lock
        counts = np.stack(list(pool.map(count_pixels, items)))
    too_many_bad(dict(sorted(bad.items())), len(items))
    return counts


def class_weights(frequencies: NDArray[np.int64], rule: WeightRule) -> NDArray[np.float32]:
    """Weight of each class in the loss, (K,) float32, from its counts (K,).

    none: 1 each.
    inverse_log: 1 / ln(1.10 + p) for a class of share p (ENet, arXiv 1606.02147, with 1.10
    for its 1.02, so that the rarest class weighs 10.5 at most).
    median: the median share over p (Eigen and Fergus, arXiv 1411.4734); a class that never
    occurs weighs 0.

    Raises:
        OptionError: no such rule.
    """
    share = frequencies / max(1, frequencies.sum())
    if rule == "none":
        return np.ones(len(share), np.float32)
    if rule == "inverse_log":
        return (1 / np.log(1.10 + share)).astype(np.float32)
    if rule == "median":
        present = share > 0
        middle = np.median(share[present]) if present.any() else 0.0
        return np.divide(middle, share, out=np.zeros_like(share), where=present).astype(np.float32)
    raise unknown_name("weight rule", rule, ("none", "inverse_log", "median"))
