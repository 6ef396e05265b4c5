"""A data set that is open: its classes, its splits, and how to read an item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import median
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.spec.architecture import Task
from hswish.spec.errors import DataError, PictureError
from hswish.spec.palette import IGNORE_INDEX

_Thing = TypeVar("_Thing")
_HEADERS = 64  # pictures whose headers tell the usual size


@dataclass(frozen=True, slots=True)
class Item:
    """One picture with what it shows."""

    picture: str
    """name of the picture, relative to the data set, unique in it"""
    target: int | str
    """index of the class, or name of the mask"""


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What a recipe should know before it augments."""

    mirror: bool = True
    """a mirrored picture means the same (not so for digits)"""
    background: bool = False
    """the first class is a background, not a thing"""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What an index of shards says of a data set, so that its files need not be read for it."""

    usual_size: tuple[int, int] | None = None
    """median (height, width) in pixels"""
    frequencies: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """labelled pixels of each class by split"""
    areas: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """all pixels of the pictures in which each class occurs, by split"""


class Reader(Protocol):
    """Gives pictures and masks by their name."""

    def picture(self, name: str) -> Image.Image: ...
    def mask(self, name: str) -> NDArray[np.uint8]: ...
    def size(self, name: str) -> tuple[int, int]: ...
    def label(self, name: str) -> str: ...


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """An open data set. Reading is safe from threads and after a fork."""

    name: str
    """short name, such as camvid"""
    location: str
    """folder, archive or built-in name it was opened from"""
    task: Task
    classes: tuple[str, ...]
    """class names; the index of a name is the class index"""
    splits: dict[str, tuple[Item, ...]]
    """items by split: train, val, test, as far as they exist"""
    reader: Reader = field(repr=False, compare=False)
    made_splits: str | None = None
    """what was held out where the folders name no split, as a sentence; None if nothing was"""
    skipped: tuple[tuple[str, str], ...] = ()
    """(file, reason) of the files that were bad at listing"""
    empty: tuple[Item, ...] = ()
    """items of which a file is empty, in no split"""
    hints: Hints = Hints()
    sharded: bool = False
    """the items lie in tar files, one behind the other, and are best read so"""
    known: Known = field(default_factory=Known)

    def items(self, split: str) -> tuple[Item, ...]:
        """The items of a split.

        Raises:
            DataError: the data set has no such split.
        """
        if split not in self.splits:
            raise DataError(f"{self.location}: has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split]

    def runs(self, split: str) -> tuple[int, ...]:
        """Lengths of the runs of items of `split` that lie in one shard, in order; empty without shards."""
        if not self.sharded:
            return ()
        return tuple(sum(1 for _ in run) for _, run in groupby(self.items(split), lambda item: shard_of(item.picture)))

    def label(self, item: Item) -> str:
        """What an error calls the item's picture: its path, or `archive.zip/inner/path`."""
        return self.reader.label(item.picture)

    def read_picture(self, item: Item) -> Image.Image:
        """The picture as 8-bit RGB.

        Raises:
            PictureError: it cannot be read.
        """
        return self.reader.picture(item.picture)

    def readable(self, items: Iterable[Item]) -> Iterator[Image.Image]:
        """The pictures of `items`, as `read_picture` gives them; those that cannot be read are passed over."""
        for item in items:
            with suppress(PictureError):
                yield self.read_picture(item)

    def read_mask(self, item: Item) -> NDArray[np.uint8]:
        """The mask, (H, W) class indices, 255 where not labelled.

        Raises:
            PictureError: it cannot be read, or is no mask.
            DataError: the data set has no masks.
        """
        if not isinstance(item.target, str):
            raise DataError(f"{self.location}: is for classification and has no masks")
        return self.reader.mask(item.target)

    def read(self, item: Item) -> tuple[Image.Image, int | NDArray[np.uint8]]:
        """The picture and its class index or its checked mask.

        Raises:
            PictureError: one of the two cannot be read.
            DataError: the mask contradicts the picture or `classes`.
        """
        picture = self.read_picture(item)
        if isinstance(item.target, int):
            return picture, item.target
        mask = self.read_mask(item)
        self.check_mask(item, mask, (picture.height, picture.width))
        return picture, mask

    def check_mask(self, item: Item, mask: NDArray[np.uint8], size: tuple[int, int]) -> None:
        """Compare a mask (H, W) with its picture's (height, width) and the classes.

        Raises:
            DataError: the sizes differ, or a value has no class.
        """
        place = self.reader.label(str(item.target))
        height, width = size
        if mask.shape != size:
            raise DataError(
                f"{place}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, its picture {self.label(item)} "
                f"{width}x{height}; both need one size"
            )
        count = len(self.classes)
        if mask.max() >= count:  # nearly always 255, or no case at all
            beyond = mask[(mask >= count) & (mask != IGNORE_INDEX)]
            if beyond.size:
                raise DataError(
                    f"{place}: value {int(beyond.max())}, but classes.txt names {count} classes "
                    f"(0 to {count - 1}); {IGNORE_INDEX} means not labelled"
                )

    def median_size(self) -> tuple[int, int]:
        """Usual (height, width) in pixels, as known or from the headers of up to 64 evenly spaced pictures.

        Raises:
            DataError: none of them can be read.
        """
        if self.known.usual_size is not None:
            return self.known.usual_size
        items = self.splits.get("train") or next(iter(self.splits.values()))
        sizes = []
        for item in evenly(items, _HEADERS):
            try:
                sizes.append(self.reader.size(item.picture))
            except PictureError:
                continue
        if not sizes:
            raise DataError(f"{self.location}: none of {min(len(items), _HEADERS)} pictures tried can be read")
        return round(median(size[0] for size in sizes)), round(median(size[1] for size in sizes))

    def split_record(self) -> dict[str, list[str]]:
        """Picture names by split, to be stored with a run; the reverse is `with_splits`."""
        return {split: [item.picture for item in items] for split, items in self.splits.items()}

    def with_splits(self, record: Mapping[str, Sequence[str]]) -> DataSource:
        """This data set with the splits of an earlier `split_record`, in its order.

        A picture that is empty by now keeps its place, for the order of training is one of places; whoever reads
        it meets it as any that cannot be read.

        Raises:
            DataError: a picture of the record is not here any more.
        """
        known = {item.picture: item for items in (self.empty, *self.splits.values()) for item in items}
        for split, names in record.items():
            for name in names:
                if name not in known:
                    raise DataError(
                        f"{self.reader.label(name)}: is in the recorded split {split!r} but not in the data set "
                        "any more; restore it or start a new run"
                    )
        splits = {split: tuple(known[name] for name in names) for split, names in record.items()}
        return self.divided(splits, "splits as recorded by an earlier run")

    def divided(self, splits: dict[str, tuple[Item, ...]], made: str) -> DataSource:
        """This data set with other splits, which the sentence `made` explains."""
        same = {split for split in splits if splits[split] == self.splits.get(split)}
        frequencies, areas = (
            {split: counts for split, counts in known.items() if split in same}
            for known in (self.known.frequencies, self.known.areas)
        )
        known = replace(self.known, frequencies=frequencies, areas=areas)
        return replace(self, splits=splits, made_splits=made, known=known)


def shard_of(name: str) -> str:
    """The part of the name of an item in a shard that says which: FILE.tar@HASH, before a slash."""
    return name[: name.index("/", name.index(".tar@"))]


def evenly(items: Sequence[_Thing], count: int) -> list[_Thing]:
    """Up to `count` items, evenly spaced, so that sorted classes are all met."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
