"""From the names of the files to classes, splits and pairs: which layout is it?

classification   SPLIT/CLASS/*.jpg                           or CLASS/*.jpg
segmentation     images/SPLIT/*, masks/SPLIT/*, classes.txt  or images/*, masks/*
ImageNet         train/n01440764/*.JPEG, val/                a file each: `imagenet`
Cityscapes       leftImg8bit/SPLIT/CITY/*, gtFine/...        and `cityscapes`
"""

from __future__ import annotations

from hswish.data.layouts.base import SPLIT_NAMES, Layout
from hswish.data.layouts.cityscapes import is_cityscapes, read_cityscapes
from hswish.data.layouts.classification import read_classification
from hswish.data.layouts.imagenet import imagenet_folders, read_imagenet
from hswish.data.layouts.segmentation import read_segmentation
from hswish.data.stores import Store
from hswish.data.tree import Tree, unwrap
from hswish.spec.architecture import Task
from hswish.spec.errors import DataError, unknown_name

_FORMS = "SPLIT/CLASS/picture.jpg, or images/ and masks/ with classes.txt"


def read_layout(store: Store, task: Task | None) -> Layout:
    """Recognise the layout and list its items.

    Raises:
        DataError: empty, of another layout or task, or contradicting itself.
        OptionError: no such task.
    """
    if task not in (None, "classification", "segmentation"):
        raise unknown_name("task", task, ("classification", "segmentation"))
    if not any(Tree(store).pictures()):
        raise DataError(f"{store.location}: no pictures in it; expected {_FORMS}")
    if is_cityscapes(store):
        if task == "classification":
            raise DataError(f"{store.location}: is Cityscapes, which is for segmentation, not classification")
        return read_cityscapes(store)
    if imagenet := imagenet_folders(store):
        if task == "segmentation":
            raise DataError(f"{store.location}: is ImageNet, which is for classification, not segmentation")
        return read_imagenet(store, imagenet)
    kinds = () if task == "classification" else ("images", "masks")
    tree = unwrap(store, keep={*SPLIT_NAMES, *kinds})
    tops = tree.children()
    has = [kind for kind in ("images", "masks") if kind in tops]
    if len(has) == 2:
        if task == "classification":
            raise DataError(f"{store.location}: images/ and masks/ make it segmentation, not classification")
        return read_segmentation(tree)
    if task == "classification" or (not has and task is None):
        return read_classification(tree)
    if not has:
        raise DataError(f"{store.location}: segmentation needs images/ and masks/ with classes.txt, it has neither")
    other = "masks" if has == ["images"] else "images"
    raise DataError(
        f"{store.location}: has {has[0]}/ but no {other}/; add {other}/ for segmentation, "
        "or put the pictures into class folders"
    )
