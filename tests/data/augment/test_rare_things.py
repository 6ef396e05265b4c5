"""Copy-paste: rare classes only, from pictures that show them, exactly where both pictures say, every time the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hswish.data import Augment, BadFile, PictureDataset, TrainLoader, TrainTransform, open_data, train_dataset
from hswish.data.augment.rare_things import RareThings
from hswish.spec.errors import OptionError
from hswish.spec.preprocess import Preprocess

PLAIN = Preprocess(height=12, width=16, resize="stretch", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
COLOURS = np.array([[10, 10, 10], [90, 90, 90], [170, 170, 170], [250, 250, 250]], np.uint8)


@pytest.fixture
def scenes(tmp_path):
    """Ten scenes of sky and road, whose grey tells the class; car (2) only in scenes 3 and 7, bus (3) never."""
    root = tmp_path / "scenes"
    for kind in ("images", "masks"):
        (root / kind / "train").mkdir(parents=True)
    for number in range(10):
        mask = np.zeros((12, 16), np.uint8)
        mask[6:] = 1
        mask[0, number] = 255
        if number in (3, 7):
            mask[7:10, number : number + 3] = 2
        Image.fromarray(COLOURS[np.where(mask == 255, 0, mask)]).save(root / f"images/train/{number}.png")
        Image.fromarray(mask).save(root / f"masks/train/{number}.png")
    (root / "classes.txt").write_text("sky\nroad\ncar\nbus\n")
    source = open_data(root)
    everything = tuple(sorted((*source.items("train"), *source.items("val")), key=lambda item: item.picture))
    return replace(source, splits={"train": everything, "val": everything})


def test_rare_is_what_has_fewer_pixels_than_the_median_class(scenes):
    assert RareThings.of(scenes, "train", 0.5).lenders == {2: [3, 7]}


def test_what_is_pasted_is_the_rare_class_of_a_lender_at_its_own_place(scenes):
    plain = PictureDataset(scenes, "train", TrainTransform(Augment(), PLAIN, "segmentation"))
    pasting = train_dataset(scenes, Augment(paste=1.0), PLAIN, 0)
    lenders = set()
    for epoch in range(4):
        for index in range(10):
            before, after = plain[(epoch, index)], pasting[(epoch, index)]
            changed = (before.target != after.target) | (before.picture != after.picture).any(0)
            assert (after.target[changed] == 2).all()
            for lender in (3, 7):
                things = plain[(epoch, lender)].target == 2
                if np.array_equal(after.target == 2, things | (before.target == 2)):
                    lenders.add(lender)
                    break
            else:
                pytest.fail(f"scene {index} has cars of no other scene")
            grey = (after.picture[0] * 255).round().astype(int)
            labelled = after.target != 255
            assert (grey[labelled] == COLOURS[after.target[labelled], 0]).all()
    assert lenders == {3, 7}


def test_as_often_as_asked_and_a_function_of_seed_epoch_and_index(scenes):
    rare = RareThings.of(scenes, "train", 0.25)
    assert 70 < sum(rare.draw(seed) is not None for seed in range(400)) < 130
    augment = Augment(paste=0.7, mirror=0.5, scale=(0.8, 1.5))
    a, b = (train_dataset(scenes, augment, PLAIN, 3) for _ in range(2))
    for key in [(0, 1), (5, 2), (2, 9)]:
        for other in [(1, 1), (0, 4)]:
            _ = b[other]  # what was loaded before does not matter
        assert np.array_equal(a[key].picture, b[key].picture)
        assert np.array_equal(a[key].target, b[key].target)
    whole = [batch.pictures for batch in TrainLoader(a, batch_size=2, seed=3, workers=0).epoch(1)]
    resumed = [batch.pictures for batch in TrainLoader(b, batch_size=2, seed=3, workers=2).epoch(1, start_batch=2)]
    for left, right in zip(whole[2:], resumed, strict=True):
        assert np.array_equal(left, right)


def test_a_lender_that_cannot_be_read_lends_nothing(scenes, tmp_path):
    pasting = train_dataset(scenes, Augment(paste=1.0), PLAIN, 0)
    for number in (3, 7):
        (tmp_path / f"scenes/images/train/{number}.png").write_bytes(b"broken")
    assert (pasting[(0, 0)].target != 2).all()
    assert isinstance(pasting[(0, 3)], BadFile)


def test_classification_is_refused(classes_folder):
    source = open_data(classes_folder({"train/cat": 2, "val/cat": 1}))
    with pytest.raises(OptionError, match=r"for segmentation; set augment\.paste=0"):
        train_dataset(source, Augment(paste=0.5), PLAIN, 0)


def test_shards_on_the_web_are_refused_with_the_remedy(scenes):
    with pytest.raises(OptionError, match="copy the shards to a disk"):
        train_dataset(replace(scenes, location="http://example.org/shards"), Augment(paste=0.5), PLAIN, 0)
