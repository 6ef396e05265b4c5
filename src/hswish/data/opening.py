"""Opening a data set: a folder, a zip, shards in a folder or on the web, or one of the built-in names."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path

from hswish.data.layouts.base import UNSPLIT
from hswish.data.layouts.recognise import read_layout
from hswish.data.problems import too_many_bad
from hswish.data.shards.index import ShardIndex
from hswish.data.shards.store import (
    ShardStore,
    folder_address,
    is_sharded,
    open_local_index,
    open_web_index,
)
from hswish.data.source import DataSource, Hints, Item, Known
from hswish.data.splits import HELD_OUT, MAX_MASKS, hold_out, mask_strata
from hswish.data.stores import open_store
from hswish.data.tree import Tree
from hswish.spec.addresses import is_web_address
from hswish.spec.architecture import Task
from hswish.spec.errors import DataError
from hswish.spec.files import expanded
from hswish.spec.palette import is_background

BUILT_IN: dict[str, Task] = {"digits": "classification", "digit-scenes": "segmentation"}
"""Data sets that need no download, with their task."""


def open_data(source: str | Path, *, task: Task | None = None, seed: int = 0) -> DataSource:
    """Open a data set and, where it has no val split, hold one out.

    Args:
        source: folder, `.zip` of one, folder or http(s) address of shards, or `digits` or
            `digit-scenes` (unless a path has that name).
        task: what is expected; found out by the layout if None.
        seed: decides which items are held out, and how the built-in sets are drawn.

    Raises:
        DataError: missing, malformed, of another task, or contradicting itself.
        DownloadError: shards on the web that are not there or not reachable.
        MissingPackageError: a built-in set or the web needs a package that is not installed.
    """
    if is_web_address(source):
        address = folder_address(str(source))
        return _with_val(_of_shards(open_web_index(address), address, {}, task), seed)
    path = expanded(source)
    if not path.exists():
        if str(source) in BUILT_IN:
            return _open_built_in(str(source), task, seed)
        near = difflib.get_close_matches(str(source), BUILT_IN, n=1, cutoff=0.6)
        hint = f"did you mean the built-in {near[0]}?" if near else f"check the path, or use {' or '.join(BUILT_IN)}"
        raise DataError(f"{source}: no such folder or zip; {hint}")

    if is_sharded(path):
        index, skipped = open_local_index(path)
        return _with_val(_of_shards(index, str(path), skipped, task), seed)
    layout = read_layout(open_store(path), task)
    good = sum(map(len, layout.splits.values()))
    too_many_bad(layout.skipped, good + len(layout.skipped))
    opened = DataSource(
        name=path.resolve().stem if path.is_file() else path.resolve().name,
        location=str(path),
        task=layout.task,
        classes=layout.classes,
        splits={split: tuple(layout.splits[split]) for split in _ordered(layout.splits)},
        reader=layout.tree,
        skipped=tuple(sorted(layout.skipped.items())),
        empty=tuple(layout.empty),
        hints=Hints(background=layout.task == "segmentation" and bool(is_background(layout.classes)[0])),
    )
    return _with_val(opened, seed)


def _open_built_in(name: str, task: Task | None, seed: int) -> DataSource:
    if task not in (None, BUILT_IN[name]):
        other = next(other for other, kind in BUILT_IN.items() if kind == task)
        raise DataError(f"{name}: is for {BUILT_IN[name]}, not {task}; use {other}")
    if name == "digits":
        from hswish.data.builtin.digits import open_digits

        return open_digits(seed)
    from hswish.data.builtin.digit_scenes import open_digit_scenes

    return open_digit_scenes(seed)


def _of_shards(index: ShardIndex, location: str, skipped: dict[str, str], task: Task | None) -> DataSource:
    """The data set that an index of shards describes.

    Raises:
        DataError: it is for another task, or nearly all of it has to be left out.
    """
    if task not in (None, index.task):
        raise DataError(f"{location}: these shards are for {index.task}, not {task}; use a model or data of one kind")
    items = {split: [item for shard in shards for item in shard.items()] for split, shards in index.splits.items()}
    if not any(items.values()):
        raise DataError(f"{location}: its index lists no pictures; make the shards again with `hswish shard`")
    too_many_bad(skipped, sum(map(len, items.values())) + len(skipped))
    return DataSource(
        name=index.name,
        location=location,
        task=index.task,
        classes=index.classes,
        splits={split: tuple(items[split]) for split in _ordered(items)},
        reader=Tree(ShardStore(index, location)),
        skipped=tuple(sorted(skipped.items())),
        hints=index.hints,
        sharded=True,
        known=Known(usual_size=index.usual_size, frequencies=index.frequencies, areas=index.areas),
    )


def _ordered(splits: dict[str, list[Item]]) -> list[str]:
    return [split for split in (UNSPLIT, "train", "val", "test") if splits.get(split)]


def _with_val(source: DataSource, seed: int) -> DataSource:
    """Hold val out of train, or out of everything where there are no splits."""
    splits = dict(source.splits)
    unsplit = UNSPLIT in splits
    if not unsplit and ("val" in splits or "train" not in splits):
        return source
    items = splits.pop(UNSPLIT if unsplit else "train")
    strata: list[Hashable] = [item.target for item in items]
    if source.task == "segmentation":
        strata = mask_strata(items, source.read_mask, len(source.classes))
    train, val = hold_out(items, strata, HELD_OUT, seed)
    if not val:
        made = f"no val split, and too few pictures ({len(train)}) to hold any out of train"
        return source.divided({"train": train, **splits}, made)
    what, whole = ("no splits", "the pictures") if unsplit else ("no val split", "train")
    how = "at random" if source.task == "segmentation" and len(items) > MAX_MASKS else "stratified"
    made = (
        f"{what}: {HELD_OUT:.0%} of {whole} held out ({how}, seed {seed}): {len(train):,} train, {len(val):,} val"
    ).replace("%", " %")
    return source.divided({"train": train, "val": val, **splits}, made)
