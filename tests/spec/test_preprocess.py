"""Preprocessing against an independent reference: Pillow's resize, then float64 arithmetic."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hswish.spec.errors import OptionError
from hswish.spec.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Noise over a gradient: every misplaced pixel shows."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = np.stack([y * 200 // height, x * 200 // width, (x + y) % 200], axis=-1)
    return Image.fromarray((base + generator.integers(0, 55, base.shape)).astype(np.uint8))


def normalised(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float64]:
    """(C, H, W) in double precision, pixel by pixel as the formula reads."""
    values = np.asarray(image).astype(np.float64) / 255
    return np.stack([(values[..., c] - mean[c]) / std[c] for c in range(len(mean))])


def torchvision_crop(image: Image.Image, size: int, crop: int, interpolation: str) -> Image.Image:
    """torchvision's documented Resize(size), then CenterCrop(crop), on a Pillow picture."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    scaled_long = int(size * long / short)
    width, height = (size, scaled_long) if width <= height else (scaled_long, size)
    image = image.resize((width, height), PILLOW[interpolation])
    top, left = int(round((height - crop) / 2.0)), int(round((width - crop) / 2.0))  # noqa: RUF046
    return image.crop((left, top, left + crop, top + crop))


SIZES = [(256, 256), (300, 400), (401, 299), (257, 1025), (31, 47), (224, 225), (1, 1), (1, 8), (8, 1), (223, 224)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("interpolation", PILLOW)
def test_crop_is_torchvisions_resize_and_centre_crop(height: int, width: int, interpolation: str) -> None:
    """Resize(256), CenterCrop(224): the evaluation of torchvision's V1 weights."""
    preprocess = Preprocess(height=224, width=224, crop_fraction=0.875, interpolation=interpolation)
    image = photo(height, width)
    expected = torchvision_crop(image, 256, 224, interpolation)
    assert np.array_equal(np.asarray(preprocess.resized(image)), np.asarray(expected))
    reference = normalised(expected, IMAGENET_MEAN, IMAGENET_STD)
    found = preprocess(image)
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]
    assert np.abs(found - reference).max() < 1e-6


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([(232, 224), (256, 224), (36, 32), (37, 32)]))
def test_crop_rounds_as_torchvision_at_any_size(height: int, width: int, sizes: tuple[int, int]) -> None:
    if max(height, width) > 8 * min(height, width):  # beyond: see the panorama tests
        return
    size, crop = sizes
    image = photo(height, width)
    preprocess = Preprocess(height=crop, width=crop, crop_fraction=crop / size, interpolation="nearest")
    assert np.array_equal(
        np.asarray(preprocess.resized(image)), np.asarray(torchvision_crop(image, size, crop, "nearest"))
    )


@pytest.mark.parametrize(("height", "width"), [(100, 333), (333, 100), (64, 64), (7, 5), (1, 5000)])
@pytest.mark.parametrize("interpolation", PILLOW)
def test_stretch(height: int, width: int, interpolation: str) -> None:
    preprocess = Preprocess(height=60, width=90, resize="stretch", interpolation=interpolation)
    image = photo(height, width)
    expected = normalised(image.resize((90, 60), PILLOW[interpolation]), IMAGENET_MEAN, IMAGENET_STD)
    assert np.abs(preprocess(image) - expected).max() < 1e-6


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([64, 512, 520]))
def test_shorter_cuts_as_torchvision(height: int, width: int, size: int) -> None:
    """torchvision's `Resize(size)`: the longer side is int(size * long / short)."""
    short, long = sorted((height, width))
    if long > 8 * short:  # beyond: see the panorama tests
        return
    found = Preprocess(height=size, width=2 * size, resize="shorter").output_size(height, width)
    assert sorted(found) == sorted((size, int(size * long / short)))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(360, 480, (64, 85)), (480, 360, (85, 64)), (64, 64, (64, 64)), (100, 101, (64, 64)), (10, 15, (64, 96))],
)
def test_shorter_keeps_the_shape(height: int, width: int, expected: tuple[int, int]) -> None:
    preprocess = Preprocess(height=64, width=128, resize="shorter")
    image = photo(height, width)
    assert preprocess.output_size(height, width) == expected
    reference = image.resize(expected[::-1], PILLOW["bilinear"])
    assert np.array_equal(np.asarray(preprocess.resized(image)), np.asarray(reference))
    assert preprocess(image).shape == (3, *expected)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["crop", "shorter", "stretch"]))
def test_output_size_tells_the_truth(height: int, width: int, rule: Any) -> None:
    preprocess = Preprocess(height=24, width=40, resize=rule)
    image = Image.new("RGB", (width, height))
    assert preprocess.resized(image).size[::-1] == preprocess.output_size(height, width)


def test_a_picture_of_the_right_size_is_untouched() -> None:
    image = photo(48, 80)
    for rule in ("crop", "stretch", "shorter"):
        preprocess = Preprocess(height=48, width=80, resize=rule)
        assert np.array_equal(np.asarray(preprocess.resized(image)), np.asarray(image))


def test_same_bits_every_time() -> None:
    preprocess, image = Preprocess(height=64, width=64, crop_fraction=0.9), photo(123, 77)
    first, before = preprocess(image), np.array(image)
    assert first.tobytes() == preprocess(image).tobytes() == preprocess(image.copy()).tobytes()
    assert np.array_equal(np.asarray(image), before)  # the picture handed in is not changed


def test_all_256_values_are_exact_to_the_last_bit() -> None:
    """float32 arithmetic in the documented order, no table, no fused shortcut."""
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    found = Preprocess(height=1, width=256).normalise(grey)
    for channel in range(3):
        expected = (
            np.arange(256).astype(np.float32) / np.float32(255) - np.float32(IMAGENET_MEAN[channel])
        ) / np.float32(IMAGENET_STD[channel])
        assert np.array_equal(found[channel, 0], expected)


def test_normalise_against_torch() -> None:
    torch = pytest.importorskip("torch")
    image = photo(40, 30)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32) / 255
    tensor = (tensor - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    found = Preprocess(height=40, width=30).normalise(np.asarray(image))
    assert torch.equal(torch.from_numpy(found), tensor)


def test_antialiased_halving_is_an_area_mean() -> None:
    """Independent of Pillow: bilinear by 2 with antialias weighs 1, 3, 3, 1 (in eighths)."""
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    image = photo(64, 64)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(torch.float32)
    reference = functional.interpolate(tensor, size=(32, 32), mode="bilinear", antialias=True)[0]
    found = np.asarray(Preprocess(height=32, width=32, resize="stretch").resized(image)).transpose(2, 0, 1)
    assert np.abs(found - reference.numpy()).max() <= 1.0  # Pillow rounds to a byte twice


@pytest.mark.parametrize("channels", ["BGR", "L"])
def test_channel_order(channels: str) -> None:
    image = photo(20, 30)
    if channels == "BGR":
        preprocess = Preprocess(height=20, width=30, channels="BGR", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
        expected = normalised(Image.fromarray(np.asarray(image)[..., ::-1]), (0.1, 0.2, 0.3), (1, 2, 3))
    else:
        preprocess = Preprocess(height=20, width=30, channels="L", mean=(0.5,), std=(0.25,))
        grey = np.asarray(image) @ np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, rounded by Pillow
        expected = (np.round(grey) / 255 - 0.5)[None] / 0.25
    found = preprocess(image)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < (1e-6 if channels == "BGR" else 1.01 / 255 / 0.25)


# --- Extreme shapes ------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["crop", "shorter", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (2, 40_000), (1, 1)])
def test_extreme_shapes_stay_small(rule: Any, height: int, width: int) -> None:
    preprocess = Preprocess(height=224, width=224, resize=rule, crop_fraction=0.875)
    image = Image.new("RGB", (width, height), (10, 20, 30))
    tracemalloc.start()
    try:
        found = preprocess(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.shape[1] <= 8 * 224
    assert found.shape[2] <= 8 * 224
    assert peak < 64e6
    assert np.abs(found - found[:, :1, :1]).max() < 1e-6


def test_crop_scales_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's memory is not traced: look at the sizes it is asked for."""
    asked = []
    original = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *rest: Any, **more: Any) -> Image.Image:
        asked.append(size[0] * size[1])
        return original(self, size, *rest, **more)

    monkeypatch.setattr(Image.Image, "resize", resize)
    Preprocess(height=224, width=224)(Image.new("RGB", (100_000, 1)))
    assert max(asked) <= 8 * 224 * 224


def test_trimming_a_panorama_keeps_its_centre() -> None:
    """Cut before scaling (20:1) against scaled whole: the same crop but for a shift below a pixel."""
    smooth = photo(4, 80).resize((1200, 60), Image.Resampling.BICUBIC)
    found = np.asarray(Preprocess(height=30, width=30).resized(smooth)).astype(int)
    expected = np.asarray(torchvision_crop(smooth, 30, 30, "bilinear")).astype(int)
    assert np.abs(found - expected).mean() < 3


def test_a_wide_crop_shows_the_whole_of_a_wide_picture() -> None:
    """A 16:1 input for a 16:1 picture: nothing may be cut off before scaling."""
    image = photo(50, 800)
    preprocess = Preprocess(height=100, width=1600)
    assert np.array_equal(
        np.asarray(preprocess.resized(image)), np.asarray(image.resize((1600, 100), PILLOW["bilinear"]))
    )


# --- Configuration -------------------------------------------------------------------------


@given(
    height=st.integers(1, 16384),
    width=st.integers(1, 16384),
    resize=st.sampled_from(["crop", "shorter", "stretch"]),
    crop_fraction=st.floats(0.05, 1),
    interpolation=st.sampled_from(sorted(PILLOW)),
    channels=st.sampled_from(["RGB", "BGR", "L"]),
    data=st.data(),
)
def test_dict_and_json_round_trip(channels: str, data: st.DataObject, **values: Any) -> None:
    count = 1 if channels == "L" else 3
    mean = data.draw(st.lists(st.floats(-10, 10), min_size=count, max_size=count))
    std = data.draw(st.lists(st.floats(1e-3, 10), min_size=count, max_size=count))
    made = Preprocess(channels=channels, mean=tuple(mean), std=tuple(std), **values)
    assert Preprocess.from_dict(made.to_dict()) == made
    assert Preprocess.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert hash(made) == hash(Preprocess.from_dict(made.to_dict()))


def test_lists_become_tuples() -> None:
    """So that a description read back equals, and hashes as, the one written."""
    made = Preprocess(height=8, width=8, mean=[0, 0, 0], std=[1, 1, 1])  # type: ignore[arg-type]
    assert made == Preprocess(height=8, width=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert hash(made)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("height", 0),
        ("height", 16385),
        ("height", 224.0),
        ("height", True),
        ("width", -1),
        ("width", "224"),
        ("width", None),
        ("resize", "pad"),
        ("resize", []),
        ("interpolation", "lanczos"),
        ("interpolation", {}),
        ("channels", "RGBA"),
        ("channels", ["R"]),
        ("crop_fraction", 0),
        ("crop_fraction", 1.01),
        ("crop_fraction", 1e-9),
        ("crop_fraction", math.nan),
        ("crop_fraction", "1"),
        ("mean", (0.5, 0.5)),
        ("mean", (0.5, 0.5, math.nan)),
        ("mean", (0.5, 0.5, 10**400)),
        ("mean", "123"),
        ("mean", None),
        ("mean", (0.5, 0.5, None)),
        ("std", (1.0, 1.0, 0.0)),
        ("std", (1.0, 1.0, -1.0)),
        ("std", (1.0, 1.0, math.inf)),
        ("std", (1.0,)),
        ("std", 1.0),
    ],
)
def test_values_out_of_range(key: str, value: Any) -> None:
    good = Preprocess(height=224, width=224).to_dict()
    with pytest.raises(OptionError):
        Preprocess(**{**good, key: value})
    with pytest.raises(OptionError):
        Preprocess.from_dict({**good, key: value})


def test_unknown_and_missing_keys() -> None:
    good = Preprocess(height=8, width=8).to_dict()
    with pytest.raises(OptionError, match="did you mean height"):
        Preprocess.from_dict({**good, "heigth": 8})
    del good["width"]
    with pytest.raises(OptionError, match="width"):
        Preprocess.from_dict(good)
    for wrong in ([], "crop", 7, None):
        with pytest.raises(OptionError):
            Preprocess.from_dict(wrong)  # type: ignore[arg-type]
