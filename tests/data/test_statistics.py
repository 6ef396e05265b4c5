"""Class counts against a slow count, and the weights against their formulas."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from hswish.data import class_frequencies, class_weights, loss_weights, open_data
from hswish.data.shards.writing import write_shards
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
    np.testing.assert_allclose(class_weights(counts, "median"), [2 / 7, 1, 2, 0], rtol=1e-6)  # each picture one class
    assert class_weights(counts, "median").dtype == np.float32
    with pytest.raises(OptionError, match="did you mean median"):
        class_weights(counts, "medain")


def median_weights(masks, classes):
    """Eigen and Fergus, section 4.3.2, a pixel at a time: median freq / freq(c).

    freq(c) is the number of pixels of class c over the number of pixels of those pictures in which c is present.
    """
    freq = {}
    for label in range(classes):
        pixels = total = 0
        for mask in masks:
            values = [value for row in mask.tolist() for value in row]
            if label in values:
                pixels += values.count(label)
                total += len(values)
        if total:
            freq[label] = pixels / total
    middle = sorted(freq.values())[len(freq) // 2]
    assert len(freq) % 2 == 1
    return [middle / freq[label] if label in freq else 0.0 for label in range(classes)]


@pytest.fixture
def uneven(scenes_folder):
    """Scenes in which the car is in two of seven pictures but large there; the ghost is in none."""
    root = scenes_folder({"train": 7, "val": 1}, classes="sky\nroad\ncar\nghost\n")
    masks = []
    for number in range(7):
        mask = np.zeros((12, 16), np.uint8)
        mask[:3] = 1
        mask[-1, : 2 * number] = 255
        if number in (2, 5):
            mask[4:10, number:] = 2
        Image.fromarray(mask).save(root / f"masks/train/{number:03d}.png")
        masks.append(mask)
    return root, masks


def test_median_is_over_the_pictures_in_which_a_class_occurs(uneven):
    root, masks = uneven
    weights = loss_weights(open_data(root), "train", "median")
    np.testing.assert_allclose(weights, median_weights(masks, 4), rtol=1e-6)
    assert weights.dtype == np.float32


def test_weights_of_shards_are_those_of_the_folder(uneven, tmp_path):
    """From the index alone; from the masks where the index was made before it knew the areas."""
    root, masks = uneven
    write_shards(open_data(root), tmp_path / "shards")
    index = tmp_path / "shards/index.json"
    older = json.loads(index.read_text())
    for rule in ("none", "inverse_log", "median"):
        folder = loss_weights(open_data(root), "train", rule)
        np.testing.assert_array_equal(loss_weights(open_data(tmp_path / "shards"), "train", rule), folder)
    for split in older["splits"].values():
        del split["areas"]
    whole = index.read_text()
    index.write_text(json.dumps(older))
    np.testing.assert_allclose(
        loss_weights(open_data(tmp_path / "shards"), "train", "median"), median_weights(masks, 4), rtol=1e-6
    )
    index.write_text(whole)
    (tmp_path / "shards/train/000000.tar").unlink()
    np.testing.assert_allclose(
        loss_weights(open_data(tmp_path / "shards"), "train", "median"), median_weights(masks, 4), rtol=1e-6
    )


def test_weights_of_classes_of_pictures_are_by_their_share(classes_folder):
    source = open_data(classes_folder({"train/cat": 6, "train/dog": 2, "train/owl": 3, "val/cat": 1}))
    np.testing.assert_allclose(loss_weights(source, "train", "median"), [3 / 6, 3 / 2, 1], rtol=1e-6)


def test_weights_of_masks_without_a_label(scenes_folder):
    root = scenes_folder({"train": 1, "val": 1})
    Image.fromarray(np.full((12, 16), 255, np.uint8)).save(root / "masks/train/000.png")
    for rule in ("none", "median"):
        with pytest.raises(DataError, match="no pixel of train is labelled"):
            loss_weights(open_data(root), "train", rule)
