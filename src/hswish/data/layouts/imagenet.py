"""ImageNet (ILSVRC 2012 to 2017) as it is unpacked: a folder a synset, and a val folder without folders.

train/n01440764/*.JPEG        a synset (a number of WordNet) a folder
val/n01440764/*.JPEG          val sorted into such folders, or
val/ILSVRC2012_val_00000001.JPEG, ...   with one of the files below, anywhere in the data set

| file | what it says of val |
|---|---|
| `LOC_val_solution.csv` (Kaggle) | name and synset |
| `val.txt`, `val_map.txt`, `imagenet_val_labels.txt`, ... | name, then synset or index of the synset in order |
| `*validation_synset_labels.txt` | one synset a line, in the order of the names |
| `ILSVRC2012_validation_ground_truth.txt` with `meta.mat` (development kit) | one number a line |

The classes are named as the published networks name them (`spec/labels`), where all of the
thousand synsets are there or `LOC_synset_mapping.txt` or `synset_words.txt` lists them; else by
the first word of such a file, else by synset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hswish.data.layouts.base import Layout, split_of
from hswish.data.layouts.synsets import class_names, is_synset, synsets_of_val
from hswish.data.source import Item
from hswish.data.stores import Store
from hswish.data.tree import Tree
from hswish.spec.errors import DataError
from hswish.spec.pictures import is_picture_name

_FLAT_VAL = re.compile(r"(.*/)?ILSVRC2012_val_\d{8}\.JPEG")


def imagenet_folders(store: Store) -> dict[str, str]:
    """Folder of each split (ending in a slash), empty where the data set is not ImageNet.

    train or val must hold synset folders with pictures (Kaggle's Annotations/ has the folders, too); or val
    the pictures under the names of the release.
    """
    found: dict[str, str] = {}
    root: str | None = None
    for name in sorted(_folders_of_pictures(store)):
        above, _, last = name.rpartition("/")
        place, _, folder = above.rpartition("/")
        split = split_of(folder)
        if split and is_synset(last) and root in (None, place):
            found[split], root = above + "/", place
    for name in store.files:
        above, _, last = name.rpartition("/")
        if "val" not in found and split_of(above.rpartition("/")[2]) == "val" and _FLAT_VAL.fullmatch(name):
            if root is None or above.rpartition("/")[0] == root:
                found["val"] = above + "/"
            break
    return found


def read_imagenet(store: Store, folders: Mapping[str, str]) -> Layout:
    """List the pictures of each split with the index of their synset, synsets in order.

    Raises:
        DataError: val is flat and no file says its synsets, or val has a synset that train lacks.
    """
    tree = Tree(store)
    labelled: dict[str, dict[str, str]] = {}
    hollow: dict[str, str] = {}
    for split, folder in folders.items():
        names = sorted(name for name in tree.pictures() if name.startswith(folder))
        inside = {name: name[len(folder) :].split("/")[0] for name in names if name.count("/") > folder.count("/")}
        flat = [name for name in names if name not in inside]
        if flat and inside:
            raise DataError(f"{tree.label(flat[0])}: lies in no synset folder beside others that do; move or remove it")
        strange = next((name for name, synset in inside.items() if not is_synset(synset)), None)
        if strange is not None:
            raise DataError(f"{tree.label(strange)}: lies in no synset folder (n and 8 digits); move or remove it")
        synset_of = inside or synsets_of_val(tree, folder, flat, _train_synsets(store, folders))
        hollow |= {name: synset for name, synset in synset_of.items() if tree.files[name] == 0}
        labelled[split] = {name: synset for name, synset in synset_of.items() if tree.files[name] > 0}
    known = {synset for synset_of in labelled.values() for synset in synset_of.values()}
    if "train" in labelled and (unseen := known - set(labelled["train"].values())):
        name, synset = next(
            (name, synset) for by in labelled.values() for name, synset in by.items() if synset in unseen
        )
        raise DataError(f"{tree.label(name)}: synset {synset} is not in train; unpack train whole, or remove it")
    synsets = sorted(known)
    index = {synset: number for number, synset in enumerate(synsets)}
    splits = {split: [Item(name, index[synset]) for name, synset in by.items()] for split, by in labelled.items() if by}
    empty = [Item(name, index[synset]) for name, synset in hollow.items() if synset in index]
    skipped = {tree.label(name): "the file is empty" for name in hollow}
    classes = class_names(tree, synsets)
    return Layout(task="classification", tree=tree, classes=classes, splits=splits, skipped=skipped, empty=empty)


def _folders_of_pictures(store: Store) -> set[str]:
    folders: set[str] = set()
    for name in store.files:
        folder = name.rpartition("/")[0]
        if folder not in folders and is_picture_name(name):
            folders.add(folder)
    return folders


def _train_synsets(store: Store, folders: Mapping[str, str]) -> list[str]:
    """Synsets with a folder in train, in order: what an index in a file counts."""
    train = folders.get("train")
    return [] if train is None else sorted(name[len(train) :] for name in store.folders if _is_child(name, train))


def _is_child(name: str, folder: str) -> bool:
    return name.startswith(folder) and is_synset(name[len(folder) :])
