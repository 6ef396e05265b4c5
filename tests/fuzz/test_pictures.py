"""1,000 damaged pictures: each is predicted or named exactly once; nothing else is said, nothing hangs."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hswish.data import open_data
from hswish.spec.errors import DataError
from tests.cli.conftest import make_pictures, noise, zipped
from tests.fuzz.conftest import mutate, write

CHUNKS, CHUNK = 10, 100
LIBTIFF = re.compile(r"^[\w.]+: [A-Z].*?(?=warning: |error: |$)")
"""What libtiff itself writes to standard error, as in `JPEGLib: Bogus marker length.`, in parts:
a line of another thread may come before the full stop"""


def without_libtiff(text: str) -> list[str]:
    """The lines that are ours."""
    return [line for line in (LIBTIFF.sub("", line) for line in text.splitlines()) if line not in ("", ".")]


def seeds() -> list[tuple[str, bytes]]:
    """Small pictures in all formats and several of their dialects."""
    exif = Image.Exif()
    exif[0x0112] = 6
    made = []
    for suffix, form, mode, options in (
        (".jpg", "JPEG", "RGB", {"exif": exif}),
        (".jpg", "JPEG", "CMYK", {"progressive": True}),
        (".png", "PNG", "RGBA", {}),
        (".png", "PNG", "P", {"exif": exif}),
        (".webp", "WEBP", "RGB", {"lossless": True}),
        (".webp", "WEBP", "RGB", {"quality": 50, "exif": exif}),
        (".bmp", "BMP", "RGB", {}),
        (".tif", "TIFF", "RGB", {"exif": exif}),
        (".tiff", "TIFF", "L", {"compression": "tiff_lzw"}),
        (".tif", "TIFF", "RGB", {"compression": "jpeg"}),
        (".gif", "GIF", "P", {"save_all": True, "append_images": [noise(9, 20, 24).convert("P")]}),
        (".ppm", "PPM", "RGB", {}),
    ):
        buffer = io.BytesIO()
        noise(len(made), 20, 24).convert(mode).save(buffer, form, **options)
        made.append((suffix, buffer.getvalue()))
    return made


@pytest.fixture(params=range(CHUNKS))
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of damaged pictures in two classes."""
    random = np.random.default_rng(request.param)
    for number, (suffix, data) in enumerate(seeds() * (CHUNK // len(seeds()) + 1)):
        if number < CHUNK:
            write(tmp_path / "set" / "ab"[number % 2] / f"{number:03d}{suffix}", mutate(data, random, 64))
    return tmp_path / "set"


def test_predicted_or_named_once(damaged: Path, classifier: Path, hswish_cli) -> None:
    outcome = hswish_cli("predict", classifier, damaged, "--json").tidy()
    assert outcome.status in (0, 2), outcome.err
    names = [json.loads(line)["name"] for line in outcome.out.splitlines()]
    lines = without_libtiff(outcome.err)
    if outcome.status == 2:
        assert f"of {CHUNK} files could not be read (listed above)" in outcome.error()
        lines.pop()
    assert all(line.startswith("warning: skipped ") for line in lines), outcome.err
    names += [line.removeprefix("warning: skipped ").split(": ")[0] for line in lines]
    assert Counter(names) == Counter(str(path) for path in damaged.rglob("*.*"))


def test_read_or_refused_by_a_data_set(damaged: Path, hswish_cli) -> None:
    source = open_data(damaged, task="classification")
    good = 0
    for items in source.splits.values():
        for item in items:
            said = complaint(source.read, item)
            good += not said
            for text in (said, complaint(source.reader.mask, item.picture)):
                assert not text or text.startswith(f"{source.label(item)}: ")
                assert "\n" not in text
    assert 0 < good < CHUNK


def test_damaged_archives(tmp_path: Path, made: Path, classifier: Path, hswish_cli) -> None:
    data = zipped(make_pictures(tmp_path / "set", 2)).read_bytes()
    random = np.random.default_rng(7)
    for number in range(60):
        path = write(tmp_path / f"{number}.zip", mutate(data, random, len(data)))
        outcome = hswish_cli("predict", classifier, path).tidy()
        assert outcome.status in (0, 2), outcome.err
        assert str(path) in outcome.out + outcome.err
        assert str(path) in (complaint(read_all, path) or str(path))


def read_all(path: Path) -> None:
    source = open_data(path, task="classification")
    for item in source.splits["train"]:
        source.read(item)


def complaint(call: Callable[[Any], object], argument: object) -> str:
    """What `call` refuses its argument with; nothing if it does not."""
    try:
        call(argument)
    except DataError as error:
        return str(error)
    return ""
