"""Shards as any tool writes them, in the WebDataset convention, read from their tar headers.

A sample is a run of members with one key: what stands before the first dot of the file name.
    000017.jpg  000017.cls        a picture and the index (or name) of its class
    000017.jpg  000017.seg.png    a picture and its mask; .mask.png will do too
"""

from __future__ import annotations

import hashlib
import itertools
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hswish.data.class_names import parse_class_names
from hswish.data.layouts.base import split_of
from hswish.data.shards.index import Member, Record, Shard, ShardIndex
from hswish.data.tree import CLASSES_FILE
from hswish.spec.architecture import MAX_CLASSES, Task
from hswish.spec.errors import DataError
from hswish.spec.palette import IGNORE_INDEX
from hswish.spec.pictures import PICTURE_SUFFIXES

MASKS = ("seg.png", "mask.png")
CLASS = "cls"


@dataclass(frozen=True)
class Scanned:
    """The samples of one tar file; the class is still what the `.cls` member says."""

    digest: str
    samples: list[tuple[Member, Member | str]]
    """picture, and its mask or the text of its class"""
    skipped: dict[str, str]
    """reason by member without a sample of its own"""


def scan_shard(path: Path) -> Scanned:
    """List the samples of a tar file, in its order.

    Raises:
        DataError: not a tar file, cut short, or a key that occurs twice.
    """
    members: list[tuple[Member, str]] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isfile():
                    member = Member(info.name, info.offset_data, info.size)
                    text = ""
                    if _extension(info.name) == CLASS and (file := tar.extractfile(info)) is not None:
                        text = file.read(1024).decode("utf-8", "replace").strip()
                    members.append((member, text))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a readable tar file ({error}); copy it or make it again") from error
    if members and members[-1][0].offset + members[-1][0].size > path.stat().st_size:
        raise DataError(f"{path}: is cut short; copy it or make it again")
    return _samples(path, members)


def _samples(path: Path, members: Sequence[tuple[Member, str]]) -> Scanned:
    samples: list[tuple[Member, Member | str]] = []
    skipped = {}
    seen: set[str] = set()
    for key, group in itertools.groupby(members, key=lambda entry: _key(entry[0].name)):
        parts = {_extension(member.name): (member, text) for member, text in group}
        picture = next((parts[ext][0] for ext in parts if "." not in ext and f".{ext}" in PICTURE_SUFFIXES), None)
        mask = next((parts[ext][0] for ext in MASKS if ext in parts), None)
        if picture is None:
            continue  # .json and the like alone
        if key in seen:
            raise DataError(f"{path}: the key {key!r} occurs twice; make the shard again")
        seen.add(key)
        if mask is not None:
            samples.append((picture, mask))
        elif CLASS in parts:
            samples.append((picture, parts[CLASS][1]))
        else:
            skipped[picture.name] = f"has no .{CLASS} and no .{MASKS[0]} beside it"
    listing = "\n".join(f"{member.name} {member.offset} {member.size} {text}" for member, text in members)
    return Scanned(hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(), samples, skipped)


def scan_folder(folder: Path, files: Sequence[Path]) -> tuple[ShardIndex, dict[str, str]]:
    """The index of shards that came without one, and the reason by sample that was left out.

    The split is in the name of a shard or of its folder: train/0.tar, imagenet-val-000003.tar;
    where none is, all are train. Classes are named in `classes.txt`, else by what `.cls` says.

    Raises:
        DataError: a tar file is damaged, or some samples have masks and others classes.
    """
    scanned = {file: scan_shard(file) for file in files}
    skipped = {f"{file}/{name}": why for file, found in scanned.items() for name, why in found.skipped.items()}
    targets = [target for found in scanned.values() for _, target in found.samples]
    if not targets:
        raise DataError(f"{folder}: no sample in its {len(files)} shards has a picture with a .{CLASS} or .{MASKS[0]}")
    masks = sum(isinstance(target, Member) for target in targets)
    if 0 < masks < len(targets):
        raise DataError(f"{folder}: {masks} of {len(targets)} samples have masks; classes or masks for all of them")
    task: Task = "segmentation" if masks else "classification"
    classes, number = _classes(folder, [target for target in targets if isinstance(target, str)])
    splits: dict[str, list[Shard]] = {}
    for file, found in scanned.items():
        records = tuple(
            Record(picture, target if isinstance(target, Member) else number[target])
            for picture, target in found.samples
        )
        name, size = file.relative_to(folder).as_posix(), file.stat().st_size
        shard = Shard(file=name, size=size, sha256=found.digest, records=records, listed=True)
        if records:
            splits.setdefault(_split(shard.file), []).append(shard)
    index = ShardIndex(
        name=folder.resolve().name,
        task=task,
        classes=classes,
        splits={split: tuple(splits[split]) for split in ("train", "val", "test") if split in splits},
    )
    return index, skipped


def _classes(folder: Path, said: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The class names, and the index of each thing that a `.cls` says."""
    file = folder / CLASSES_FILE
    found = sorted(set(said))
    most = MAX_CLASSES if found else IGNORE_INDEX
    names = parse_class_names(file.read_bytes(), str(file), most) if file.is_file() else ()
    if not found:  # masks
        if not names:
            raise DataError(f"{file}: missing; write one class name a line, the first for mask value 0")
        return names, {}
    if all(text.isascii() and text.isdigit() for text in found):
        count = max(int(text) for text in found) + 1
        if count > most:
            raise DataError(f"{folder}: a .{CLASS} speaks of class {count - 1}; {most} (0 to {most - 1}) are possible")
        if names and len(names) < count:
            raise DataError(f"{file}: names {len(names)} classes, but the shards speak of class {count - 1}; add them")
        return names or tuple(str(number) for number in range(count)), {text: int(text) for text in found}
    unknown = next((text for text in found if text not in (names or found)), None)
    if unknown is not None:
        raise DataError(f"{file}: does not name the class {unknown[:80]!r} of the shards; add it")
    names = names or tuple(found)
    return names, {text: names.index(text) for text in found}


def _split(file: str) -> str:
    words = re.split(r"[/\-_.]", file)
    return next((split for word in words if (split := split_of(word))), "train")


def _key(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _extension(name: str) -> str:
    """All after the first dot of the file name, in lower case, as WebDataset has it."""
    return name.rpartition("/")[2].partition(".")[2].lower()
