"""The same bytes give the same tensor, whoever asks: every path against Pillow used by hand.

python -m tests.contract.preprocessing photos.zip      (real pictures, a minute for 200)
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hswish.data import DataSource, EvalLoader, open_data
from hswish.evaluate import evaluate
from hswish.runtime import Predictor
from hswish.spec.artifact import Description
from hswish.spec.interface import Interface
from hswish.spec.pictures import read_picture
from hswish.spec.preprocess import Preprocess

RULES = (
    Preprocess(height=224, width=224, crop_fraction=0.875),
    Preprocess(height=96, width=160, resize="stretch", interpolation="bicubic", channels="BGR"),
    Preprocess(height=64, width=64, resize="shorter", mean=(0.5,) * 3, std=(0.5,) * 3),
    Preprocess(height=48, width=48, crop_fraction=0.9, channels="L", mean=(0.4,), std=(0.3,)),
)


def by_hand(data: bytes, rule: Preprocess) -> NDArray[np.float32]:
    """What `rule` says, step by step in Pillow, each pixel by plain arithmetic: (C, H, W)."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I"):  # 16 bits: Pillow's own conversion would cut off at 255
        picture = Image.fromarray((np.asarray(picture).astype(int) // 256).astype(np.uint8))
    picture = picture.convert("RGB")
    kernel = Image.Resampling[rule.interpolation.upper()]
    if rule.resize == "stretch":
        picture = picture.resize((rule.width, rule.height), kernel)
    else:
        target = rule.height if rule.resize == "shorter" else round(rule.height / rule.crop_fraction)
        width, height = picture.size
        short = min(width, height)
        picture = picture.resize((target * width // short, target * height // short), kernel)
    if rule.resize == "crop":
        left, top = round((picture.width - rule.width) / 2), round((picture.height - rule.height) / 2)
        picture = picture.crop((left, top, left + rule.width, top + rule.height))
    if rule.channels == "L":
        picture = picture.convert("L")
    pixels = np.array(picture).reshape(picture.height, picture.width, -1)
    planes = [pixels[:, :, index] for index in range(pixels.shape[2])]
    if rule.channels == "BGR":
        planes.reverse()
    return np.stack(
        [
            (plane / np.float32(255) - np.float32(mean)) / np.float32(std)
            for plane, mean, std in zip(planes, rule.mean, rule.std, strict=True)
        ]
    )


class Recorder:
    """An engine that keeps what it is given and answers nothing of interest."""

    suffixes: tuple[str, ...] = ()

    def __init__(self, rule: Preprocess, takes: Any = "normalised") -> None:
        options = {"num_classes": 2, "in_channels": rule.channel_count}
        self.description = Description(model="mobilenet_v3_small", options=options, classes=("a", "b"), preprocess=rule)
        self.interface = Interface(takes=takes)
        self.given: list[NDArray[Any]] = []

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> Recorder:
        raise NotImplementedError

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        self.given += list(batch.copy())
        return np.tile(np.float32([0.0, 1.0]), (len(batch), 1))


def paths(files: Mapping[str, bytes], rule: Preprocess, folder: Path) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """The network's inputs for `files`, in the order of their sorted names, by every way that leads to it."""
    names = sorted(files)
    for name in names:
        (folder / "val" / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "val" / "a" / name).write_bytes(files[name])
    archive = folder / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in names:
            packed.writestr(f"val/a/{name}", files[name])
    yield "the rule itself", [rule(read_picture(files[name])) for name in names]
    for source in (folder / "val", archive, [files[name] for name in names]):
        yield f"prediction of {type(source).__name__} {source!s:.40}", predicted(source, rule)
    opened = [Image.open(io.BytesIO(files[name])) for name in names]
    yield "prediction of PIL pictures", predicted(opened, rule)
    yield "prediction of arrays", predicted([np.asarray(read_picture(files[name])) for name in names], rule)
    for data in (folder, archive):
        source = open_data(data, task="classification")
        recorder = Recorder(rule)
        evaluate(recorder, source, "val", batch_size=3)
        yield f"evaluation of {source.name}", in_order(recorder.given, source, rule)
        yield f"calibration on {source.name}", [rule(source.read_picture(item)) for item in source.items("val")]


def predicted(source: Any, rule: Preprocess) -> list[NDArray[Any]]:
    recorder = Recorder(rule)
    list(Predictor(recorder).stream([source] if isinstance(source, Path) else source, batch_size=1))
    return recorder.given


def in_order(given: list[NDArray[Any]], source: DataSource, rule: Preprocess) -> list[NDArray[Any]]:
    """An evaluation runs pictures of one size together: back into the data set's order, batch by batch."""
    ordered: list[NDArray[Any]] = []
    for batch in EvalLoader(source, "val", Interface().reader(Recorder(rule).description), batch_size=3):
        shapes = [picture.shape for picture in batch.pictures]
        groups = sorted(range(len(shapes)), key=lambda place: shapes.index(shapes[place]))
        run, given = given[: len(shapes)], given[len(shapes) :]
        ordered += [run[groups.index(place)] for place in range(len(shapes))]
    return ordered


def check(files: Mapping[str, bytes], rule: Preprocess, folder: Path) -> int:
    """Compare every path with Pillow by hand, bit for bit; how many paths there were."""
    wanted = [by_hand(files[name], rule) for name in sorted(files)]
    count = 0
    for way, found in paths(files, rule, folder):
        assert len(found) == len(wanted), way
        for name, one, other in zip(sorted(files), wanted, found, strict=True):
            assert one.dtype == other.dtype == np.float32, (way, name)
            np.testing.assert_array_equal(other, one, err_msg=f"{name} by {way}", strict=True)
        count += 1
    return count


def main() -> None:
    """Check the pictures of an archive."""
    import tempfile

    with zipfile.ZipFile(sys.argv[1]) as archive:
        files = {Path(name).name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    for rule in RULES:
        with tempfile.TemporaryDirectory() as folder:
            count = check(files, rule, Path(folder))
        print(f"{len(files)} pictures, {count} paths, {rule.resize} {rule.channels}: equal in every bit")


if __name__ == "__main__":
    main()
