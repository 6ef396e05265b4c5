"""Class counts against a slow count, and the weights against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from hswish.data import class_frequencies, class_weights, open_data
from hswish.spec.errors import DataError, OptionError


def test_pixels_are_counted(scenes_folder):
    source = open_data(scenes_folder({"train": 5, "val": 1}))
    expected = [0, 0, 0]
    for item in source.items("train"):
        for value in source.read_mask(item).ravel():
            if value != 255:
                expected[value] += 1
    assert class_frequencies(source, "train").tolist() == expected


def test_pictures_are_counted(classes_folder):
    source = open_data(classes_folder({"train/cat": 5, "train/dog": 2, "val/cat": 1}))
    assert class_frequencies(source, "train").tolist() == [5, 2]
    assert class_frequencies(source, "val").tolist() == [1, 0]


def test_every_mask_is_checked(scenes_folder):
    root = scenes_folder({"train": 12, "val": 1})
    Image.fromarray(np.full((12, 16), 3, np.uint8)).save(root / "masks/train/007.png")
    with pytest.raises(DataError, match=r"007\.png: value 3"):
        class_frequencies(open_data(root), "train")
    Image.new("L", (4, 4)).save(root / "masks/train/007.png")
    with pytest.raises(DataError, match=r"007\.png: the mask is 4x4 pixels"):
        class_frequencies(open_data(root), "train")
    (root / "masks/train/007.png").write_bytes(b"broken")
    assert class_frequencies(open_data(root), "train").sum() > 0
    for number in range(7):
        Image.new("RGB", (16, 12)).save(root / f"masks/train/{number:03d}.png")
    with pytest.raises(DataError, match=r"8 of 12 files .*000\.png: .*8-bit grey"):
        class_frequencies(open_data(root), "train")


def test_masks_without_a_label(scenes_folder):
    root = scenes_folder({"train": 1, "val": 1})
    Image.fromarray(np.full((12, 16), 255, np.uint8)).save(root / "masks/train/000.png")
    with pytest.raises(DataError, match="no pixel of train is labelled"):
        class_frequencies(open_data(root), "train")


def test_weights_follow_their_rules():
    counts = np.array([70, 20, 10, 0])
    np.testing.assert_array_equal(class_weights(counts, "none"), [1, 1, 1, 1])
    np.testing.assert_allclose(
        class_weights(counts, "inverse_log"), [1 / math.log(1.1 + p) for p in (0.7, 0.2, 0.1, 0)], rtol=1e-6
    )
    np.testing.assert_allclose(class_weights(counts, "median"), [2 / 7, 1, 2, 0], rtol=1e-6)
    assert class_weights(counts, "median").dtype == np.float32
    with pytest.raises(OptionError, match="did you mean median"):
        class_weights(counts, "medain")
