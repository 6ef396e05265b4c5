"""Prediction, evaluation and calibration see the tensor that Pillow gives by hand, bit for bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hswish.runtime import Predictor
from hswish.spec.pictures import read_picture
from hswish.spec.preprocess import Preprocess
from tests.contract.preprocessing import RULES, Recorder, by_hand, check


def encoded(picture: Image.Image, form: str, orientation: int = 1, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if orientation > 1:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height: int, width: int) -> Image.Image:
    """Coarse blobs under fine noise, so that a shift by half a pixel shows."""
    rng = np.random.default_rng(height * 1000 + width)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)).resize((width, height))
    return Image.fromarray(
        (np.asarray(coarse, np.int16) + rng.integers(-30, 31, (height, width, 3))).clip(0, 255).astype(np.uint8)
    )


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """As found in the wild: many sizes, grey, CMYK, turned, 16 bits, palettes, alpha, one bit."""
    made = {
        f"size-{height}x{width}.jpg": encoded(noise(height, width), "JPEG", quality=90)
        for height, width in ((375, 500), (500, 333), (64, 64), (97, 61), (30, 200), (256, 256), (1, 1), (224, 224))
    }
    for orientation in range(2, 9):
        made[f"turned-{orientation}.jpg"] = encoded(noise(90, 130), "JPEG", orientation)
    deep = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (80, 70)).astype(np.uint16))
    alpha = noise(70, 90).convert("RGBA")
    alpha.putalpha(noise(70, 90).convert("L"))
    seethrough = noise(50, 60).quantize(60)
    made |= {
        "grey.jpg": encoded(noise(120, 80).convert("L"), "JPEG"),
        "cmyk.jpg": encoded(noise(80, 120).convert("CMYK"), "JPEG"),
        "progressive.jpg": encoded(noise(100, 100), "JPEG", progressive=True, subsampling=0),
        "deep.png": encoded(deep, "PNG"),
        "deep.tif": encoded(deep, "TIFF"),
        "palette.png": encoded(noise(60, 50).quantize(200), "PNG"),
        "seethrough.png": encoded(seethrough, "PNG", transparency=bytes(range(0, 240, 4))),
        "animated.gif": encoded(noise(40, 40).quantize(32), "GIF", save_all=True, append_images=[noise(40, 40)]),
        "alpha.png": encoded(alpha, "PNG"),
        "alpha.webp": encoded(alpha, "WEBP"),
        "grey-alpha.png": encoded(alpha.convert("LA"), "PNG"),
        "one-bit.png": encoded(noise(50, 51).convert("1"), "PNG"),
        "bitmap.bmp": encoded(noise(33, 47), "BMP"),
    }
    return made


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.resize}-{rule.channels}")
def test_every_path_is_pillow_by_hand(files: dict[str, bytes], rule: Preprocess, tmp_path: Path) -> None:
    assert check(files, rule, tmp_path) == 10


@pytest.mark.parametrize("rule", RULES[:3], ids=lambda rule: f"{rule.resize}-{rule.channels}")
def test_files_that_take_pixels_get_the_same_ones(files: dict[str, bytes], rule: Preprocess) -> None:
    for data in files.values():
        recorder = Recorder(rule, "pixels")
        Predictor(recorder)(data)
        (pixels,) = recorder.given
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(rule.normalise(pixels), by_hand(data, rule), strict=True)


def test_the_check_can_fail(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preprocess, "_scale", lambda self, image, height, width: image.resize((width, height), 1))
    with pytest.raises(AssertionError, match="by the rule itself"):
        check(files, RULES[0], tmp_path)
    assert read_picture(files["deep.png"]).mode == "RGB"
