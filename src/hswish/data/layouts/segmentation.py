"""Segmentation: `images/SPLIT/*` and `masks/SPLIT/*`, paired by name, with `classes.txt`."""

from __future__ import annotations

from collections import defaultdict

from hswish.data.class_names import parse_class_names
from hswish.data.layouts.base import UNSPLIT, Layout, split_folders, split_of
from hswish.data.source import Item
from hswish.data.tree import CLASSES_FILE, Tree
from hswish.spec.errors import DataError
from hswish.spec.palette import IGNORE_INDEX
from hswish.spec.pictures import MASK_SUFFIXES

Key = tuple[str, str]
"""(split, name below the split without its suffix): what a picture and its mask share."""


def read_segmentation(tree: Tree) -> Layout:
    """Pair the pictures with their masks.

    Raises:
        DataError: classes.txt or one of a pair is missing, or two files would pair with one.
    """
    classes = read_classes(tree)
    pictures, masks = _by_key(tree, "images"), _by_key(tree, "masks")
    for key in sorted(set(pictures) | set(masks)):
        _check_pair(tree, pictures.get(key), masks.get(key))

    skipped: dict[str, str] = {}
    splits: defaultdict[str, list[Item]] = defaultdict(list)
    hollow: list[Item] = []
    for key in sorted(pictures):
        empty = [name for name in (pictures[key], masks[key]) if tree.files[name] == 0]
        skipped |= {tree.label(name): "the file is empty" for name in empty}
        (hollow if empty else splits[key[0]]).append(Item(pictures[key], masks[key]))
    return Layout(task="segmentation", tree=tree, classes=classes, splits=dict(splits), skipped=skipped, empty=hollow)


def read_classes(tree: Tree) -> tuple[str, ...]:
    """The class names of `classes.txt`, one a line; a mask's value is the number of its line, from 0.

    Raises:
        DataError: missing, empty, not text, with a gap, a duplicate or more than 255 names.
    """
    place = tree.label(CLASSES_FILE)
    if CLASSES_FILE not in tree.files:
        raise DataError(f"{place}: missing; write one class name a line, the first for mask value 0")
    return parse_class_names(tree.read(CLASSES_FILE), place, IGNORE_INDEX)


def _by_key(tree: Tree, kind: str) -> dict[Key, str]:
    """File name by key, for the pictures below `images/` or `masks/`."""
    named = split_folders(tree, f"{kind}/")
    names = [name for name in tree.pictures() if name.startswith(f"{kind}/")]
    in_split = {name for name in names if name.count("/") >= 2 and split_of(name.split("/")[1])}
    found: dict[Key, str] = {}
    for name in names:
        inner = name.partition("/")[2]
        split = UNSPLIT
        if in_split:
            folder, _, inner = inner.partition("/")
            if name not in in_split:
                beside = "/ and ".join(sorted(named))
                raise DataError(f"{tree.label(name)}: lies outside {beside}/; move it into a split or remove it")
            split = named[folder]
        key = (split, inner.rpartition(".")[0])
        if key in found:
            other = found[key].rpartition("/")[2]
            raise DataError(f"{tree.label(name)}: has the same name as {other}, so pairs are not clear; rename one")
        found[key] = name
    return found


def _check_pair(tree: Tree, picture: str | None, mask: str | None) -> None:
    if mask is None:
        expected = picture.replace("images/", "masks/", 1).rpartition(".")[0] if picture else ""
        raise DataError(f"{tree.label(picture or '')}: has no mask; expected {expected}.png, or remove the picture")
    if picture is None:
        raise DataError(f"{tree.label(mask)}: is a mask without a picture of that name in images/; add or remove one")
    suffix = mask[mask.rindex(".") :].lower()
    if suffix not in MASK_SUFFIXES:
        raise DataError(f"{tree.label(mask)}: {suffix} would alter the class indices of a mask; save it as PNG")
