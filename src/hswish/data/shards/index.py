"""What a folder of shards holds: classes, splits, and where in which tar file each picture lies.

`index.json` beside the shards says it, so that training needs to open none of them first, can
go to any picture at once, and notices when a file is not the one that it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hswish.data.layouts.base import SPLIT_NAMES
from hswish.data.source import Hints, Item
from hswish.spec.architecture import Task
from hswish.spec.errors import DataError

INDEX_FILE = "index.json"
UNFINISHED_FILE = "unfinished.txt"
"""Lies beside shards while they are written, or where writing was broken off."""
VERSION = 1
KEY = "hswish_shards"
"""The first key of an index, which tells it from other tools' files of that name."""
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a shard."""

    name: str
    offset: int
    """of its first byte, in bytes from the start of the shard"""
    size: int
    """in bytes"""


@dataclass(frozen=True, slots=True)
class Record:
    """A picture in a shard with what it shows."""

    picture: Member
    target: int | Member
    """index of the class, or the mask"""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar file."""

    file: str
    """relative to the index, as train/000000.tar"""
    size: int
    """in bytes"""
    sha256: str
    """64 hexadecimal digits; of a shard that came without an index, of its list of members"""
    records: tuple[Record, ...]
    listed: bool = False
    """it came without an index: there is no SHA-256 to compare its bytes with"""

    @property
    def name(self) -> str:
        """What items call the shard: with a part of the hash, so that a recorded split fits these very bytes."""
        return f"{self.file}@{self.sha256[:_DIGITS]}"

    def items(self) -> list[Item]:
        """The records as items of a data set; a file in the shard is called SHARD/MEMBER."""
        folder = self.name + "/"
        return [
            Item(
                folder + record.picture.name,
                record.target if isinstance(record.target, int) else folder + record.target.name,
            )
            for record in self.records
        ]


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """A sharded data set without its bytes."""

    name: str
    """short name of the data set, such as camvid"""
    task: Task
    classes: tuple[str, ...]
    splits: dict[str, tuple[Shard, ...]]
    """shards by split: train, val, test, as far as they exist"""
    usual_size: tuple[int, int] | None = None
    """median (height, width) in pixels"""
    frequencies: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """labelled pixels of each class by split, for segmentation"""
    areas: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """all pixels of the pictures in which each class occurs, by split; older indexes do not say them"""
    hints: Hints = field(default_factory=Hints)
    made_splits: str | None = None
    """what was held out when the shards were made, as a sentence"""

    def to_json(self) -> str:
        """The text of `index.json`; the reverse is `read_index`."""
        splits = {
            split: {
                "count": sum(len(shard.records) for shard in shards),
                "frequencies": list(self.frequencies.get(split, ())),
                "areas": list(self.areas.get(split, ())),
                "shards": [_shard_to_dict(shard) for shard in shards],
            }
            for split, shards in self.splits.items()
        }
        document = {
            KEY: VERSION,
            "name": self.name,
            "task": self.task,
            "classes": list(self.classes),
            "usual_size": self.usual_size,
            "hints": {"mirror": self.hints.mirror, "background": self.hints.background},
            "made_splits": self.made_splits,
            "splits": splits,
        }
        return json.dumps(document, separators=(",", ":")) + "\n"


def read_index(text: str, place: str) -> ShardIndex:
    """The index in the text of an `index.json`, which may come from anybody.

    Args:
        place: what an error calls the file.

    Raises:
        DataError: no such index, a newer one, damaged, or with file names that lead elsewhere.
    """
    try:
        document = json.loads(text)
        version = document[KEY]
        if version != VERSION:
            raise DataError(
                f"{place}: version {version!r} of the shards' index, this hswish reads {VERSION}; update it"
            )
        return _from_dict(document)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{place}: not an index of shards, or damaged ({type(error).__name__}: {str(error)[:80]}); "
            "make the shards again with `hswish shard`"
        ) from error


def _from_dict(document: Mapping[str, Any]) -> ShardIndex:
    task, classes = document["task"], tuple(document["classes"])
    if task not in ("classification", "segmentation") or not classes or not all(isinstance(c, str) for c in classes):
        raise ValueError("no task or no classes")
    splits = {}
    for split, held in document["splits"].items():
        if split not in SPLIT_NAMES.values():
            raise ValueError(f"split {split!r}")
        splits[split] = tuple(_shard_from_dict(shard, task, len(classes)) for shard in held["shards"])
    size = document["usual_size"]
    return ShardIndex(
        name=str(document["name"]),
        task=task,
        classes=classes,
        splits=splits,
        usual_size=None if size is None else (_natural(size[0]), _natural(size[1])),
        frequencies=_by_class(document["splits"], "frequencies", len(classes)),
        areas=_by_class(document["splits"], "areas", len(classes)),
        hints=Hints(mirror=bool(document["hints"]["mirror"]), background=bool(document["hints"]["background"])),
        made_splits=document["made_splits"] and str(document["made_splits"]),
    )


def _by_class(splits: Mapping[str, Any], key: str, classes: int) -> dict[str, tuple[int, ...]]:
    """The counts of each class by split, of those splits that say them."""
    said = {split: held.get(key, ()) for split, held in splits.items()}
    return {split: tuple(map(_natural, counts)) for split, counts in said.items() if len(counts) == classes}


def _shard_to_dict(shard: Shard) -> dict[str, Any]:
    """A sample is a list, since there may be a million: name, offset, size, then class or the same of the mask."""
    samples = [
        [*_listed(record.picture), *([record.target] if isinstance(record.target, int) else _listed(record.target))]
        for record in shard.records
    ]
    return {"file": shard.file, "bytes": shard.size, "sha256": shard.sha256, "samples": samples}


def _shard_from_dict(values: Mapping[str, Any], task: Task, classes: int) -> Shard:
    file, sha256 = values["file"], values["sha256"]
    if not file.endswith(".tar") or file.startswith("/") or ".." in file.split("/") or ":" in file or "\\" in file:
        raise ValueError(f"file name {file[:80]!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("a SHA-256 has 64 digits")
    records = []
    for sample in values["samples"]:
        picture = Member(str(sample[0]), _natural(sample[1]), _natural(sample[2]))
        target: int | Member
        if task == "classification":
            target = _natural(sample[3])
            if target >= classes:
                raise ValueError(f"class {target} of {classes}")
        else:
            target = Member(str(sample[3]), _natural(sample[4]), _natural(sample[5]))
        records.append(Record(picture, target))
    return Shard(file=file, size=_natural(values["bytes"]), sha256=sha256, records=tuple(records))


def _listed(member: Member) -> list[Any]:
    return [member.name, member.offset, member.size]


def _natural(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
