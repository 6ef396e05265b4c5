"""What all layouts share: the result, and the names that a split's folder may have."""

from __future__ import annotations

from dataclasses import dataclass, field

from hswish.data.source import Item
from hswish.data.tree import Tree
from hswish.spec.architecture import Task
from hswish.spec.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
UNSPLIT = ""
"""Key of the one group of a data set whose folders name no split."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a data set holds, as its names tell."""

    task: Task
    tree: Tree
    classes: tuple[str, ...]
    splits: dict[str, list[Item]]
    """items by split, sorted; by UNSPLIT alone where there are none"""
    skipped: dict[str, str] = field(default_factory=dict)
    """reason by file that is bad to the naked eye"""
    empty: list[Item] = field(default_factory=list)
    """items that are in no split because a file of theirs is empty"""


def split_of(folder: str) -> str | None:
    """train, val or test for a folder of such a name, in any of its spellings."""
    return SPLIT_NAMES.get(folder.lower())


def split_folders(tree: Tree, parent: str = "") -> dict[str, str]:
    """Split name by folder, for the folders directly in `parent` that are named like a split.

    Raises:
        DataError: two of them mean the same split.
    """
    found = {folder: split for folder in tree.children(parent) if (split := split_of(folder))}
    spelt: dict[str, str] = {}
    for folder, split in found.items():
        if split in spelt:
            place = tree.label(parent + folder)
            raise DataError(f"{place}: means {split}, and so does {spelt[split]}/ beside it; merge the two")
        spelt[split] = folder
    return found
