"""Classification: `SPLIT/CLASS/*.jpg`, or `CLASS/*.jpg` without splits."""

from __future__ import annotations

from collections import defaultdict

from hswish.data.layouts.base import UNSPLIT, Layout, split_folders
from hswish.data.source import Item
from hswish.data.tree import Tree
from hswish.spec.errors import DataError


def read_classification(tree: Tree) -> Layout:
    """List the pictures of each class; classes are numbered in the order of their names.

    Raises:
        DataError: loose pictures, an empty class, a class that training would never see.
    """
    roots = _split_roots(tree)
    pictures = _by_class(tree, roots)
    classes = sorted({name for by_class in pictures.values() for name in by_class})
    index = {name: number for number, name in enumerate(classes)}
    if "train" in pictures:
        for split, by_class in pictures.items():
            for unseen in sorted(set(by_class) - set(pictures["train"])):
                raise DataError(
                    f"{tree.label(roots[split] + unseen)}: class {unseen!r} is not in train; "
                    "add it there or correct its name"
                )

    empty: list[Item] = []
    splits: dict[str, list[Item]] = {}
    for split, by_class in pictures.items():
        items = []
        for name in sorted(by_class):
            whole = [picture for picture in sorted(by_class[name]) if tree.files[picture] > 0]
            if not whole:
                raise DataError(f"{tree.label(roots[split] + name)}: every picture of this class is empty")
            items += [Item(picture, index[name]) for picture in whole]
            empty += [Item(picture, index[name]) for picture in by_class[name] if tree.files[picture] == 0]
        splits[split] = items
    skipped = {tree.label(item.picture): "the file is empty" for item in empty}
    return Layout(task="classification", tree=tree, classes=tuple(classes), splits=splits, skipped=skipped, empty=empty)


def _split_roots(tree: Tree) -> dict[str, str]:
    """Folder (ending in a slash) by split; `{UNSPLIT: ""}` where the folders are classes."""
    named = split_folders(tree)
    holding = {name.split("/", 1)[0] for name in tree.pictures() if "/" in name}
    with_classes = {name.split("/", 1)[0] for name in tree.pictures() if name.count("/") >= 2}
    if not named or (not with_classes & set(named) and holding - set(named)):
        return {UNSPLIT: ""}  # a class may well be called "train", beside "bus" and "car"
    for stray in sorted(holding - set(named)):
        beside = "/ and ".join(sorted(named))
        raise DataError(f"{tree.label(stray)}: stands beside {beside}/ but is no split; move or remove it")
    # A split's folder without a single picture counts as not there.
    return {split: folder + "/" for folder, split in named.items() if folder in holding}


def _by_class(tree: Tree, roots: dict[str, str]) -> dict[str, dict[str, list[str]]]:
    """Picture names by split and class."""
    split_by_top = {root.rstrip("/"): split for split, root in roots.items()}
    found: dict[str, dict[str, list[str]]] = {split: defaultdict(list) for split in roots}
    for name in tree.pictures():
        top = "" if UNSPLIT in roots else name.split("/", 1)[0]
        split = split_by_top.get(top)
        inner = name[len(top) + 1 :] if top else name
        if split is None or "/" not in inner:
            root = roots.get("train", min(roots.values())) if split is None else roots[split]
            raise DataError(f"{tree.label(name)}: lies in no class folder; move it into {root}CLASS/ or remove it")
        found[split][inner.split("/", 1)[0]].append(name)
    for split, root in roots.items():
        for folder in tree.children(root):
            if folder not in found[split]:
                raise DataError(f"{tree.label(root + folder)}: class folder without pictures; fill or remove it")
    return found
