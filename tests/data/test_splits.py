"""What is held out: reproducible, stratified, whatever the order of the disk."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hswish.data import Item, open_data
from hswish.data.splits import hold_out, mask_strata, stable_hash


def test_hash_is_the_same_everywhere():
    assert stable_hash(0, 1, "a") == 12228131273275268822


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 1000),
)
def test_hold_out_divides_each_stratum(counts, fraction, seed):
    items = [Item(f"{kind}/{number}", kind) for kind, count in enumerate(counts) for number in range(count)]
    kept, held = hold_out(items, [item.target for item in items], fraction, seed)
    assert set(kept) | set(held) == set(items)
    assert not set(kept) & set(held)
    for kind, count in enumerate(counts):
        out = sum(item.target == kind for item in held)
        assert abs(out - fraction * count) <= 1
        assert count == 1 or 1 <= out < count
    shuffled = random.Random(seed).sample(items, len(items))
    assert hold_out(shuffled, [item.target for item in shuffled], fraction, seed) == (kept, held)


def test_no_splits_and_no_val_are_said(classes_folder):
    source = open_data(classes_folder({"cat": 50, "dog": 10}, "a"), seed=3)
    assert source.made_splits == "no splits: 20 % of the pictures held out (stratified, seed 3): 48 train, 12 val"
    assert Counter(item.target for item in source.items("val")) == {0: 10, 1: 2}
    source = open_data(classes_folder({"train/cat": 10, "test/cat": 3}, "b"))
    assert source.made_splits == "no val split: 20 % of train held out (stratified, seed 0): 8 train, 2 val"
    assert len(source.items("test")) == 3


def test_single_picture_stays_in_train(classes_folder):
    source = open_data(classes_folder({"cat": 1}))
    assert list(source.splits) == ["train"]
    assert "too few pictures" in str(source.made_splits)


def test_rare_classes_of_masks_reach_both_sides(scenes_folder):
    root = scenes_folder({"": 30})
    for number in range(30):
        values = np.zeros((12, 16), np.uint8)
        values[4:8] = 1
        if number in (7, 21, 22, 23, 24):
            values[0:4] = 2
        Image.fromarray(values).save(root / f"masks/{number:03d}.png")
    source = open_data(root)
    assert (len(source.items("train")), len(source.items("val"))) == (24, 6)
    shown = {split: sum(2 in source.read_mask(item) for item in items) for split, items in source.splits.items()}
    assert shown == {"train": 4, "val": 1}


def test_strata_are_the_rarest_class_shown():
    masks = {"a": [0, 1], "b": [0], "c": [0, 1, 2], "d": [255]}
    items = [Item(name, name) for name in masks]
    strata = mask_strata(items, lambda item: np.repeat(np.array(masks[item.picture], np.uint8), 2)[None], 3)
    assert strata[:3] == [1, 0, 2]
