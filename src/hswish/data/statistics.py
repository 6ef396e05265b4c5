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
from hswish.spec.palette import IGNORE_INDEX

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
    return _labelled(source, split, mask_counts(source, split).sum(0) if known is None else np.array(known, np.int64))


def loss_weights(source: DataSource, split: str, rule: WeightRule) -> NDArray[np.float32]:
    """Weight of each class in the loss, (K,) float32, by `class_weights` of what a split holds.

    Reads each mask once, as `class_frequencies` does; of shards none, unless they were made before their
    index knew the areas that `median` needs.

    Raises:
        DataError: as of `class_frequencies`.
        OptionError: no such rule.
    """
    if rule != "median" or source.task == "classification":
        return class_weights(class_frequencies(source, split), rule)
    known, areas = source.known.frequencies.get(split), source.known.areas.get(split)
    if known is not None and areas is not None:
        return class_weights(_labelled(source, split, np.array(known, np.int64)), rule, np.array(areas, np.int64))
    counts = _count_masks(source, split)
    return class_weights(_labelled(source, split, counts.sum(0)[:-1]), rule, class_areas(counts))


def mask_counts(source: DataSource, split: str) -> NDArray[np.int64]:
    """Labelled pixels of each class in each mask of a split, (N, K), every mask decoded and checked.

    Raises:
        DataError: no such split, a mask that contradicts its picture or the classes, or more
            than a tenth of the files unreadable (the others count as empty).
    """
    return _count_masks(source, split)[:, :-1]


def pixel_counts(mask: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels of each class in a checked mask (H, W), and in the last place those not labelled: (K + 1,)."""
    counts = np.bincount(mask.ravel(), minlength=256)
    return np.append(counts[:classes], counts[IGNORE_INDEX])


def class_areas(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """All pixels of the pictures in which each class occurs, (K,), from the `pixel_counts` of masks (N, K + 1)."""
    areas: NDArray[np.int64] = ((counts[:, :-1] > 0) * counts.sum(1, keepdims=True)).sum(0)
    return areas


def _labelled(source: DataSource, split: str, frequencies: NDArray[np.int64]) -> NDArray[np.int64]:
    """`frequencies` themselves.

    Raises:
        DataError: they are 0 throughout.
    """
    if not frequencies.any():
        raise DataError(f"{source.location}: no pixel of {split} is labelled, every mask is 255 throughout")
    return frequencies


def _count_masks(source: DataSource, split: str) -> NDArray[np.int64]:
    """The `pixel_counts` of each mask of a split, (N, K + 1); raises as `mask_counts` does."""
    items, count = source.items(split), len(source.classes)
    bad: dict[str, str] = {}

    def count_pixels(item: Item) -> NDArray[np.int64]:
        try:
            mask = source.read_mask(item)
            source.check_mask(item, mask, source.reader.size(item.picture))
        except PictureError as error:
            bad[error.name] = error.reason
            return np.zeros(count + 1, np.int64)
        return pixel_counts(mask, count)

    with ThreadPoolExecutor(min(8, available_cores())) as pool:  # decoding releases the lock
        counts = np.stack(list(pool.map(count_pixels, items)))
    too_many_bad(dict(sorted(bad.items())), len(items))
    return counts


def class_weights(
    frequencies: NDArray[np.int64], rule: WeightRule, areas: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Weight of each class in the loss, (K,) float32, from its counts (K,).

    none: 1 each.
    inverse_log: 1 / ln(1.10 + p) for a class of share p (ENet, arXiv 1606.02147, with 1.10
    for its 1.02, so that the rarest class weighs 10.5 at most).
    median: the median f over f, where f is the class's pixels over all pixels of the pictures in
    which it occurs (Eigen and Fergus, arXiv 1411.4734); a class that never occurs weighs 0.

    Args:
        areas: all pixels of the pictures in which each class occurs, (K,), for `median` on masks. None for
            classification: a picture has one class there, which would be all of it, so f is the class's share p.

    Raises:
        OptionError: no such rule.
    """
    share = frequencies / max(1, frequencies.sum())
    if rule == "none":
        return np.ones(len(share), np.float32)
    if rule == "inverse_log":
        return (1 / np.log(1.10 + share)).astype(np.float32)
    if rule == "median":
        present = frequencies > 0
        if areas is not None:
            share = frequencies / np.maximum(1, areas)
        middle = np.median(share[present]) if present.any() else 0.0
        return np.divide(middle, share, out=np.zeros_like(share), where=present).astype(np.float32)
    raise unknown_name("weight rule", rule, ("none", "inverse_log", "median"))
