"""Cityscapes as it is unpacked, with the 19 classes that are evaluated.

leftImg8bit/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png      or ..._gtFine_labelTrainIds.png

The two folders may lie in folders of their own, as their two archives unpack to. Coarse labels,
instances and polygons are not read. `test` has masks, but no pixel of them is labelled: the
benchmark's server keeps the truth.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from hswish.data.layouts.base import Layout, split_of
from hswish.data.source import Item
from hswish.data.stores import Store
from hswish.data.tree import Tree
from hswish.spec.errors import DataError
from hswish.spec.labels import load_labels
from hswish.spec.palette import IGNORE_INDEX

PICTURES, LABELS = "leftImg8bit", "gtFine"
TRAIN_IDS: dict[int, int] = {
    label: index
    for index, label in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
}
"""Index of the evaluated class by label id, from the data set's own labels.py; all other ids are left out."""
_LAST_ID = 33
_KINDS = ("labelIds", "labelTrainIds")
"""Kinds of mask that will do, the better one first: every release has it."""


class CityscapesTree(Tree):
    """Masks of label ids read as the 19 classes; masks of train ids as they are."""

    def mask(self, name: str) -> NDArray[np.uint8]:
        """The mask, (H, W) class indices, 255 where the benchmark does not look.

        Raises:
            PictureError: it cannot be read.
            DataError: a value is no label id.
        """
        mask = super().mask(name)
        if not name.endswith("_labelIds.png"):
            return mask
        unknown = mask[(mask > _LAST_ID) & (mask != IGNORE_INDEX)]
        if unknown.size:
            raise DataError(
                f"{self.label(name)}: value {int(unknown.max())} is no label id of Cityscapes (0 to {_LAST_ID}); "
                "copy the file from gtFine again"
            )
        return _table()[mask]


def is_cityscapes(store: Store) -> bool:
    """Whether the folders have the names of a Cityscapes release."""
    return _place(store, PICTURES) is not None


def read_cityscapes(store: Store) -> Layout:
    """Pair each picture with its mask.

    Raises:
        DataError: gtFine is missing, or a picture of train or val has no mask in it.
    """
    pictures, labels = _place(store, PICTURES), _place(store, LABELS)
    assert pictures is not None
    if labels is None:
        raise DataError(f"{store.location}: has {PICTURES}/ but no {LABELS}/; unpack gtFine_trainvaltest.zip beside it")
    tree = CityscapesTree(store)
    skipped: dict[str, str] = {}
    splits: defaultdict[str, list[Item]] = defaultdict(list)
    hollow: list[Item] = []
    ending = f"_{PICTURES}.png"
    for name in sorted(name for name in tree.files if name.startswith(pictures) and name.endswith(ending)):
        inner = name[len(pictures) :]
        split = split_of(inner.split("/", 1)[0])
        if split is None:  # train_extra has coarse labels only
            continue
        stem = labels + inner.removesuffix(ending)
        mask = next((found for kind in _KINDS if (found := f"{stem}_{LABELS}_{kind}.png") in tree.files), None)
        if mask is None:
            if split == "test":
                continue
            raise DataError(f"{tree.label(name)}: has no mask; expected {tree.label(stem)}_{LABELS}_{_KINDS[0]}.png")
        empty = [file for file in (name, mask) if tree.files[file] == 0]
        skipped |= {tree.label(file): "the file is empty" for file in empty}
        (hollow if empty else splits[split]).append(Item(name, mask))
    if not splits and not skipped:
        raise DataError(f"{store.location}: {pictures} holds no picture SPLIT/CITY/NAME{ending}; unpack it again")
    classes = load_labels("cityscapes19")
    return Layout(task="segmentation", tree=tree, classes=classes, splits=dict(splits), skipped=skipped, empty=hollow)


def _place(store: Store, folder: str) -> str | None:
    """Where the uppermost folder of this name lies, ending in a slash."""
    found = [name for name in store.folders if name.rpartition("/")[2] == folder]
    return min(found, key=lambda name: (name.count("/"), name)) + "/" if found else None


def _table() -> NDArray[np.uint8]:
    """Class index by label id, (256,)."""
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[list(TRAIN_IDS)] = list(TRAIN_IDS.values())
    return table
