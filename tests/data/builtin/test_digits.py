"""The built-in data sets."""

from __future__ import annotations

import pickle
import sys
from collections import Counter

import numpy as np
import pytest

from hswish.data import open_data
from hswish.data.builtin.digit_scenes import scene_digits
from hswish.data.builtin.digits import digit_index, load_digits
from hswish.data.builtin.scene_drawing import SCENE_PX, draw_scene
from hswish.spec.errors import DataError, MissingPackageError


def test_digits_are_divided_by_class():
    source = open_data("digits")
    sizes = {split: len(items) for split, items in source.splits.items()}
    assert sum(sizes.values()) == 1797
    assert sizes["train"] / 1797 == pytest.approx(0.7, abs=0.01)
    assert sizes["test"] / 1797 == pytest.approx(0.2, abs=0.01)
    for items in source.splits.values():
        shares = np.array(list(Counter(item.target for item in items).values())) / len(items)
        assert shares.min() > 0.085
    assert source.classes == tuple("0123456789")
    assert not source.hints.mirror
    assert source.median_size() == (32, 32)
    assert open_data("digits").splits == source.splits != open_data("digits", seed=1).splits


def test_digits_are_the_ones_of_scikit_learn():
    from sklearn.datasets import load_digits as original

    source = open_data("digits")
    bunch = original()
    for item in source.items("val")[:20]:
        index = digit_index(item)
        assert item.target == bunch.target[index]
        picture = np.asarray(source.read_picture(item))
        assert picture.shape == (32, 32, 3)
        block_means = picture[..., 0].reshape(8, 4, 8, 4).mean((1, 3))
        assert np.abs(block_means - bunch.images[index] * 255 / 16).mean() < 15


@pytest.mark.parametrize("name", ["digits", "digit-scenes"])
def test_no_digit_is_trained_and_measured_on(name):
    if name == "digits":
        source = open_data(name)
        used = {split: [digit_index(item) for item in items] for split, items in source.splits.items()}
    else:
        used = {split: list(indices) for split, indices in scene_digits(0).items()}
    images, _ = load_digits()
    content = {split: {images[index].tobytes() for index in indices} for split, indices in used.items()}
    assert not content["train"] & (content["val"] | content["test"])
    assert not content["val"] & content["test"]


def test_scenes_draw_only_from_their_split(monkeypatch):
    """Every digit handed to the drawing belongs to the split, by content."""
    import hswish.data.builtin.digit_scenes as module

    handed = {}
    monkeypatch.setattr(
        module,
        "draw_scene",
        lambda digits, labels, rng: (
            handed.setdefault("now", {digit.tobytes() for digit in digits})
            and (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
        ),
    )
    source = open_data("digit-scenes", seed=5)
    seen = {}
    for split, items in source.splits.items():
        handed.clear()
        source.read_picture(items[0])
        seen[split] = handed["now"]
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["val"]


def test_scenes_are_a_function_of_seed_split_and_index():
    source, again, other = open_data("digit-scenes"), open_data("digit-scenes"), open_data("digit-scenes", seed=1)
    items = [source.items(split)[3] for split in ("train", "val", "test")]
    for item in items:
        np.testing.assert_array_equal(source.read_picture(item), again.read_picture(item))
        np.testing.assert_array_equal(source.read_mask(item), pickle.loads(pickle.dumps(again)).read_mask(item))
        assert not np.array_equal(source.read_picture(item), other.read_picture(item))
    pictures = [np.asarray(source.read_picture(item)) for item in items]
    assert not np.array_equal(pictures[0], pictures[1])
    assert source.task == "segmentation"
    assert source.classes == ("background", *"0123456789")
    assert source.hints.background


def test_scenes_hold_all_classes_in_fair_shares():
    source = open_data("digit-scenes")
    counts = np.zeros(256, np.int64)
    for item in source.items("val"):
        picture, mask = source.read(item)
        assert picture.size == (SCENE_PX, SCENE_PX)
        counts += np.bincount(np.asarray(mask).ravel(), minlength=256)
        assert np.unique(mask).size >= 2
    share = counts[:11] / counts.sum()
    assert counts[11:].sum() == 0
    assert 0.6 < share[0] < 0.9
    assert share[1:].min() > 0.01


def test_a_stroke_is_marked_where_it_is_drawn():
    """A full square of ink: its mask is solid, and its colour stands out from the ground at the edge."""
    ink = np.full((10, 8, 8), 255, np.uint8)
    picture, mask = draw_scene(ink, np.arange(10), np.random.default_rng(0))
    assert picture.shape == (SCENE_PX, SCENE_PX, 3)
    inside = picture[mask > 0].astype(float)
    assert inside.std(0).mean() < 80
    assert (mask > 0).sum() > 40 * 40


def test_wrong_task_and_missing_package(monkeypatch):
    with pytest.raises(DataError, match="is for classification, not segmentation; use digit-scenes"):
        open_data("digits", task="segmentation")
    load_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackageError, match=r"scikit-learn: pip install 'hswish\[train\]'"):
        open_data("digits")
