"""Writing a data set as shards: tar files in the WebDataset convention, and an index of them.

OUT/index.json            classes, counts, where each sample lies, SHA-256 of each shard
OUT/classes.txt           the class names, for other tools
OUT/train/000000.tar      KEY.jpg and KEY.cls, or KEY.jpg and KEY.seg.png
OUT/val/000000.tar

The same data give the same bytes. The samples of train are shuffled over the shards, so that
what lies together is no class or city; `val` and `test` keep their order.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.class_names import class_names_text
from hswish.data.layouts.base import split_of
from hswish.data.outside import check_outside
from hswish.data.problems import too_many_bad
from hswish.data.shards.folder import unfinished
from hswish.data.shards.index import INDEX_FILE, Record, Shard, ShardIndex
from hswish.data.shards.scan import CLASS, MASKS, scan_shard
from hswish.data.source import DataSource, Item
from hswish.data.splits import stable_hash
from hswish.data.statistics import class_areas, pixel_counts
from hswish.data.tree import CLASSES_FILE, Tree
from hswish.spec.errors import OptionError, PictureError
from hswish.spec.files import write_aside, write_text

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True)
class Sharded:
    """What was written."""

    folder: Path
    index: ShardIndex
    skipped: tuple[tuple[str, str], ...]
    """(file, reason) of what cannot be read and was left out"""


@dataclass(frozen=True)
class _Sample:
    """A sample as it goes into a shard."""

    key: str
    members: dict[str, bytes]
    """bytes by extension, the picture first"""
    label: int | None
    pixels: NDArray[np.int64] | None = None
    """the mask's `pixel_counts`, (K + 1,), for segmentation"""

    @property
    def room(self) -> int:
        """Bytes in a tar file: a header and whole blocks a member."""
        return sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for data in self.members.values())


def write_shards(
    source: DataSource,
    out: str | Path,
    *,
    shard_bytes: int = 100_000_000,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Sharded:
    """Write all splits of `source` into shards of about `shard_bytes` below the folder `out`.

    The index is written last: without it the folder is unfinished, and may be written again, which begins anew.

    Args:
        seed: decides the order of train.
        progress: called with (samples done, samples in all).

    Raises:
        SaveError: `out` holds shards already or is being written, lies inside the data, the disk is full, or the
            folder is not writable.
        DataError: the data contradict themselves, more than a tenth cannot be read, or `classes.txt` cannot hold
            the name of a class.
        OptionError: `shard_bytes` is below 1.
    """
    if shard_bytes < 1:
        raise OptionError(f"a shard takes 1 byte or more, not {shard_bytes}")
    check_outside(Path(out), source.location)
    classes = class_names_text(source.classes, source.location)
    folder = Path(out)
    bad: dict[str, str] = {}
    with unfinished(folder):
        index = _write_all(source, folder, shard_bytes, seed, progress, bad)
        write_text(folder / CLASSES_FILE, classes)
        write_text(folder / INDEX_FILE, index.to_json())
    return Sharded(folder=folder, index=index, skipped=tuple(sorted({*source.skipped, *bad.items()})))


def _write_all(
    source: DataSource,
    folder: Path,
    shard_bytes: int,
    seed: int,
    progress: Callable[[int, int], object] | None,
    bad: dict[str, str],
) -> ShardIndex:
    """Write the tar files; the reasons of what is left out go into `bad`."""
    total = sum(map(len, source.splits.values()))
    splits: dict[str, tuple[Shard, ...]] = {}
    frequencies: dict[str, tuple[int, ...]] = {}
    areas: dict[str, tuple[int, ...]] = {}
    done = itertools.count(1)
    for split, items in source.splits.items():
        order = sorted(items, key=lambda item: stable_hash(seed, item.picture)) if split == "train" else items
        pixels, area = np.zeros((2, len(source.classes)), np.int64)
        samples = _Ahead(_samples(source, order, bad))
        shards: list[Shard] = []
        while samples.next is not None:
            with _ShardWriter(folder, f"{split}/{len(shards):06d}.tar") as writer:
                while samples.next is not None and writer.has_room(samples.next, shard_bytes):
                    sample = samples.take()
                    writer.add(sample)
                    if sample.pixels is not None:
                        pixels += sample.pixels[:-1]
                        area += class_areas(sample.pixels[None])
                    if progress is not None:
                        progress(next(done) + len(bad), total)
            shards.append(writer.shard())
        splits[split] = tuple(shards)
        if source.task == "segmentation":
            frequencies[split], areas[split] = tuple(pixels.tolist()), tuple(area.tolist())
    too_many_bad(bad, total)
    return ShardIndex(
        name=source.name,
        task=source.task,
        classes=source.classes,
        splits=splits,
        usual_size=source.median_size(),
        frequencies=frequencies,
        areas=areas,
        hints=source.hints,
        made_splits=source.made_splits,
    )


def _samples(source: DataSource, items: Sequence[Item], bad: dict[str, str]) -> Iterator[_Sample]:
    """The sample of each item that can be read; the reasons of the others go into `bad`."""
    taken: set[str] = set()
    for item in items:
        try:
            yield _read(source, item, taken)
        except PictureError as error:
            bad[error.name] = error.reason


def _read(source: DataSource, item: Item, taken: set[str]) -> _Sample:
    """The item's bytes: pictures as they are, masks as 8-bit PNGs of class indices.

    Raises:
        PictureError: its header cannot be read, or its mask.
        DataError: the mask contradicts the picture or the classes.
    """
    reader = source.reader
    if isinstance(reader, Tree):
        suffix, data = item.picture.rpartition(".")[2].lower(), reader.read(item.picture)
    else:  # drawn, not read
        suffix, data = "png", _png(source.read_picture(item))
    size = reader.size(item.picture)
    if isinstance(item.target, int):
        return _Sample(_key(item.picture, taken), {suffix: data, CLASS: str(item.target).encode()}, item.target)
    mask = source.read_mask(item)
    source.check_mask(item, mask, size)
    members = {suffix: data, MASKS[0]: _png(Image.fromarray(mask))}
    return _Sample(_key(item.picture, taken), members, None, pixel_counts(mask, len(source.classes)))


class _Ahead:
    """An iterator of which the next sample can be looked at."""

    def __init__(self, samples: Iterator[_Sample]) -> None:
        self._samples = samples
        self.next = next(samples, None)

    def take(self) -> _Sample:
        """The next sample."""
        sample = self.next
        assert sample is not None
        self.next = next(self._samples, None)
        return sample


class _ShardWriter:
    """One tar file that is filled sample by sample; it has its name only once it is complete.

    Raises:
        SaveError: the disk is full or the folder not writable.
    """

    def __init__(self, folder: Path, file: str) -> None:
        self._path, self._file = folder / file, file
        self._labels: list[int | None] = []
        self._filled = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> _ShardWriter:
        aside = self._open.enter_context(write_aside(self._path))
        self._tar = self._open.enter_context(tarfile.open(aside, "w", format=tarfile.PAX_FORMAT))
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._open.__exit__(*error)

    def has_room(self, sample: _Sample, limit: int) -> bool:
        """Whether the shard stays within `limit` bytes; one sample always finds room."""
        return not self._labels or self._filled + sample.room <= limit

    def add(self, sample: _Sample) -> None:
        """Write the sample's members."""
        for extension, data in sample.members.items():
            info = tarfile.TarInfo(f"{sample.key}.{extension}")
            info.size, info.mode = len(data), 0o444  # no owner, no time: equal data are equal bytes
            self._tar.addfile(info, io.BytesIO(data))
        self._labels.append(sample.label)
        self._filled += sample.room

    def shard(self) -> Shard:
        """The complete file, read back for where everything lies."""
        with open(self._path, "rb") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        records = []
        for (picture, mask), label in zip(scan_shard(self._path).samples, self._labels, strict=True):
            target = mask if label is None else label
            assert not isinstance(target, str)
            records.append(Record(picture, target))
        return Shard(file=self._file, size=self._path.stat().st_size, sha256=sha256, records=tuple(records))


def _key(name: str, taken: set[str]) -> str:
    """A key that nothing else has: the name below its split, without suffix and (as WebDataset asks) dots."""
    parts = name.split("/")
    parts = [part for part in parts if not split_of(part)] or parts
    stem = "/".join(parts).rpartition(".")[0].replace(".", "_") or "picture"
    key = next(key for key in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2))) if key not in taken)
    taken.add(key)
    return key


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    with contextlib.closing(buffer):
        picture.save(buffer, format="PNG", compress_level=6)
        return buffer.getvalue()
