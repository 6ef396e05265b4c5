"""Augmentation: stateless, of exact size, and the mask goes where the picture goes."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hswish.data import Augment, EvalTransform, TrainTransform
from hswish.spec.errors import MissingPackageError, OptionError
from hswish.spec.preprocess import Preprocess

EVERYTHING = Augment(
    scale=(0.5, 1.0),
    ratio=(0.8, 1.25),
    mirror=0.5,
    rotate=20,
    translate=0.1,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    erase=0.5,
)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(seed: int = 0, height: int = 40, width: int = 50) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def blobs(height: int, width: int) -> tuple[Image.Image, np.ndarray]:
    """A mask of four quarters and a disc, and a picture whose grey is 60 * class."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, width // 2 :] = 1
    mask[height // 2 :, : width // 2] = 2
    rows, columns = np.mgrid[:height, :width]
    mask[(rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 4) ** 2] = 3
    return Image.fromarray(np.repeat((mask * 60)[..., None], 3, 2)), mask


def digest(task: str) -> str:
    transform = TrainTransform(EVERYTHING, Preprocess(height=24, width=32), task)
    pixels, target = transform(picture(), 3 if task == "classification" else blobs(40, 50)[1], 1234567890123)
    return hashlib.sha256(pixels.tobytes() + np.asarray(target).tobytes()).hexdigest()


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_pure_function_of_inputs_and_seed(task):
    preprocess = Preprocess(height=24, width=32)
    transform = TrainTransform(EVERYTHING, preprocess, task)
    target = 3 if task == "classification" else blobs(40, 50)[1]
    first = [transform(picture(), target, seed) for seed in range(6)]
    np.random.seed(0)
    backwards = [transform(picture(), target, seed) for seed in reversed(range(6))][::-1]
    for (a, a_target), (b, b_target) in zip(first, backwards, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a_target, b_target)
    assert len({pixels.tobytes() for pixels, _ in first}) == 6


def test_the_same_in_another_process():
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('t', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module.digest('classification'), module.digest('segmentation'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [digest("classification"), digest("segmentation")]
    assert ran.stderr == ""  # the library's warnings are not the user's concern


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    resize=st.sampled_from(["crop", "shorter", "stretch"]),
    zoom=st.tuples(st.floats(0.3, 1), st.floats(1, 2)),
    seed=st.integers(0, 2**64 - 1),
)
def test_output_has_exactly_the_size_asked_for(height, width, resize, zoom, seed):
    preprocess = Preprocess(height=24, width=32, resize=resize)
    augment = Augment(scale=zoom, ratio=(0.8, 1.2), mirror=0.5, rotate=10, translate=0.1)
    mask = np.random.default_rng(seed).integers(0, 3, (height, width), np.uint8)
    pixels, out = TrainTransform(augment, preprocess, "segmentation")(picture(0, height, width), mask, seed)
    assert (pixels.shape, pixels.dtype) == ((3, 24, 32), np.float32)
    assert (out.shape, out.dtype) == ((24, 32), np.uint8)
    assert set(np.unique(out)) <= {0, 1, 2, 255}
    augment = Augment(scale=(zoom[0], 1.0), ratio=(0.8, 1.2), rotate=10)
    pixels, label = TrainTransform(augment, preprocess, "classification")(picture(0, height, width), 7, seed)
    assert pixels.shape == (3, 24, 32)
    assert label == 7


@pytest.mark.parametrize("resize", ["shorter", "stretch"])
def test_picture_and_mask_move_together(resize):
    preprocess = Preprocess(height=64, width=64, resize=resize, **PLAIN)
    augment = Augment(scale=(0.5, 2.0), ratio=(0.8, 1.25), mirror=0.5, rotate=30, translate=0.2, erase=0.5)
    transform = TrainTransform(augment, preprocess, "segmentation")
    for seed in range(30):
        pixels, mask = transform(*blobs(90, 120), seed)
        labelled = mask != 255
        expected = mask.astype(float) * 60 / 255
        wrong = labelled & (np.abs(pixels[0] - expected) > 0.1)
        assert wrong.sum() <= 0.1 * labelled.sum()  # edges alone, which interpolation blends
        assert labelled.any()


def test_padding_is_mean_colour_and_not_labelled():
    preprocess = Preprocess(height=64, width=64, resize="stretch")
    transform = TrainTransform(Augment(scale=(0.5, 0.5)), preprocess, "segmentation")
    pixels, mask = transform(picture(), np.zeros((40, 50), np.uint8), 1)
    assert (mask == 255).sum() == 64 * 64 - 32 * 32
    assert np.abs(pixels[:, mask == 255]).max() < 0.02


def test_nothing_asked_for_changes_nothing():
    preprocess = Preprocess(height=40, width=50, resize="stretch")
    mask = blobs(40, 50)[1]
    pixels, out = TrainTransform(Augment(), preprocess, "segmentation")(picture(), mask, 5)
    np.testing.assert_array_equal(pixels, preprocess(picture()))
    np.testing.assert_array_equal(out, mask)
    pixels, _ = TrainTransform(Augment(), preprocess, "classification")(picture(), 1, 5)
    np.testing.assert_array_equal(pixels, preprocess(picture()))


def test_mirror_is_exact_and_as_likely_as_asked():
    preprocess = Preprocess(height=40, width=50, resize="stretch")
    transform = TrainTransform(Augment(mirror=0.25), preprocess, "classification")
    plain = preprocess(picture())
    flipped = 0
    for seed in range(400):
        pixels, _ = transform(picture(), 0, seed)
        same = np.array_equal(pixels, plain)
        assert same or np.array_equal(pixels, plain[..., ::-1])
        flipped += not same
    assert 70 < flipped < 130


def test_steps_are_drawn_independently():
    """Seeding every step with the same number would tie brightness to the flip."""
    preprocess = Preprocess(height=16, width=16, **PLAIN)
    transform = TrainTransform(Augment(mirror=0.5, brightness=0.5), preprocess, "classification")
    grey = np.full((16, 16, 3), 100, np.uint8)
    grey[:, :8] = 120
    drawn = []
    for seed in range(400):
        pixels, _ = transform(Image.fromarray(grey), 0, seed)
        drawn.append((pixels[0, 0, 0] < pixels[0, 0, -1], pixels.mean()))
    assert abs(np.corrcoef(np.array(drawn, float).T)[0, 1]) < 0.15


def test_eval_keeps_the_mask_and_preprocesses_as_prediction():
    preprocess = Preprocess(height=24, width=32)
    mask = blobs(40, 50)[1]
    pixels, out = EvalTransform(preprocess)(picture(), mask)
    np.testing.assert_array_equal(pixels, preprocess(picture()))
    assert out is mask


@pytest.mark.parametrize("channels", ["BGR", "L"])
def test_other_channel_orders(channels):
    count = 1 if channels == "L" else 3
    preprocess = Preprocess(height=24, width=32, channels=channels, mean=(0.5,) * count, std=(0.2,) * count)
    pixels, _ = TrainTransform(EVERYTHING, preprocess, "classification")(picture(), 0, 0)
    assert pixels.shape == (count, 24, 32)


# ---- TrivialAugment and RandAugment ----


@pytest.mark.parametrize("policy", [{"policy": "trivial"}, {"policy": "random", "policy_ops": 2}])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_policies_are_pure_functions_of_the_seed_too(policy, task):
    target = 3 if task == "classification" else blobs(40, 50)[1]
    transform = TrainTransform(Augment(**policy), Preprocess(height=24, width=32), task)
    first = [transform(picture(), target, seed) for seed in range(12)]
    again = [transform(picture(), target, seed) for seed in reversed(range(12))][::-1]
    for (a, a_target), (b, b_target) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a_target, b_target)
    assert len({pixels.tobytes() for pixels, _ in first}) > 8


@pytest.mark.parametrize("policy", ["trivial", "random"])
def test_policies_move_the_mask_with_the_picture(policy):
    """Things are told apart by colour before and after: of the pixels that moved, no class is at another's place."""
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20]], np.uint8)
    mask = blobs(60, 80)[1]
    scene = Image.fromarray(colours[mask])
    transform = TrainTransform(
        Augment(policy=policy, policy_strength=0.5),
        Preprocess(height=60, width=80, resize="stretch", **PLAIN),
        "segmentation",
    )
    moved = 0
    for seed in range(60):
        pixels, out = transform(scene, mask, seed)
        assert set(np.unique(out)) <= {0, 1, 2, 3, 255}
        moved += not np.array_equal(out, mask)
        for label in range(4):
            if (out == label).sum() > 100:  # one colour, whatever the policy made of it
                seen = pixels[:, out == label]
                assert np.abs(seen - np.median(seen, 1, keepdims=True)).mean() < 0.06
    assert 15 < moved < 59


def test_trivial_applies_one_operation_and_random_as_many_as_asked():
    """Strength 0 changes nothing to speak of; more operations leave fewer pictures as they were."""
    preprocess = Preprocess(height=40, width=50, resize="stretch", **PLAIN)
    plain = preprocess(picture())

    def unchanged(**policy):
        transform = TrainTransform(Augment(**policy), preprocess, "classification")
        return sum(np.abs(transform(picture(), 0, seed)[0] - plain).max() < 0.02 for seed in range(150))

    one, four = unchanged(policy="random", policy_ops=1), unchanged(policy="random", policy_ops=4)
    assert one > 4 * max(four, 1)
    assert 5 <= one <= 60  # identity, and what noise has nothing for
    trivial = unchanged(policy="trivial")
    assert 5 <= trivial <= 60


def test_random_erasing_has_the_published_shape():
    """A box of 2 to 33 % of the area, between 0.3 and 3.3 as high as wide, as often as asked."""
    preprocess = Preprocess(height=100, width=100, resize="stretch", **PLAIN)
    transform = TrainTransform(Augment(erase=0.5), preprocess, "segmentation")
    white, mask = Image.new("RGB", (100, 100), (255, 255, 255)), np.zeros((100, 100), np.uint8)
    boxes = []
    for seed in range(200):
        pixels, out = transform(white, mask, seed)
        gone = out == 255
        np.testing.assert_array_equal(gone, pixels[0] < 0.9)
        if gone.any():
            rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert gone.sum() == height * width
            boxes.append((height * width / 10_000, height / width))
    areas, ratios = np.array(boxes).T
    assert 70 < len(boxes) < 130
    assert 0.015 < areas.min() < 0.06
    assert 0.25 < areas.max() < 0.34
    assert 0.28 < ratios.min() < 0.6
    assert 1.7 < ratios.max() < 3.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (1.0, 0.5)},
        {"ratio": (0.5, 100)},
        {"mirror": 1.5},
        {"mirror": -0.1},
        {"rotate": 181},
        {"hue": 0.6},
        {"brightness": float("nan")},
        {"policy": "auto"},
        {"policy_ops": 0},
        {"policy_ops": 1.5},
        {"policy_strength": 1.1},
        {"paste": -1},
    ],
)
def test_ranges_are_checked(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Augment(**wrong)


def test_a_crop_of_more_than_the_picture_is_refused():
    with pytest.raises(OptionError, match="at most 1"):
        TrainTransform(Augment(scale=(0.5, 2.0)), Preprocess(height=8, width=8), "classification")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingPackageError, match=r"hswish\[train\]"):
        TrainTransform(Augment(), Preprocess(height=8, width=8), "classification")
