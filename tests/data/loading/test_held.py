"""Pictures held on the device: the same order, the same bad files, the same resumption as loading them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hswish.data import Augment, EvalTransform, PictureDataset, TrainLoader, open_data, train_dataset
from hswish.data.augment.rare_things import RareThings
from hswish.data.loading.held import FitTransform, HeldLoader
from hswish.data.shards.writing import write_shards
from hswish.spec.errors import DataError, OptionError
from hswish.spec.preprocess import Preprocess

CPU = torch.device("cpu")
FITTING = Preprocess(height=12, width=16)
SCALED = Preprocess(height=16, width=16)
VARIED = Augment(scale=(0.5, 1.0), mirror=0.5, rotate=20, brightness=0.3, policy="trivial", erase=0.5)


def held(root, augment=VARIED, preprocess=SCALED, *, batch_size=4, seed=3, **options):
    data = train_dataset(open_data(root), augment, preprocess, seed)
    return HeldLoader(data, batch_size=batch_size, device=CPU, seed=seed, **{"workers": 0, **options})


def loaded(root, augment=VARIED, preprocess=SCALED, *, batch_size=4, seed=3, **options):
    data = train_dataset(open_data(root), augment, preprocess, seed)
    return TrainLoader(data, batch_size=batch_size, seed=seed, workers=0, **options)


def assert_same(a, b):
    assert len(a) == len(b) > 0
    for left, right in zip(a, b, strict=True):
        for name in ("indices", "pictures", "targets"):
            assert torch.equal(getattr(left, name), getattr(right, name))
            assert getattr(left, name).dtype == getattr(right, name).dtype


@pytest.mark.parametrize("kind", ["classes", "scenes"])
def test_without_augmentation_the_very_batches_of_the_loader(kind, classes_folder, scenes_folder):
    """Order, pictures, targets and indices; with one process and with two."""
    root = (
        classes_folder({"train/cat": 6, "train/dog": 5, "val/cat": 1})
        if kind == "classes"
        else scenes_folder({"train": 11, "val": 1})
    )
    ours, theirs = (make(root, Augment(), FITTING) for make in (held, loaded))
    assert len(ours) == len(theirs) == 3
    for epoch in (0, 5):
        assert_same(list(ours.epoch(epoch)), list(theirs.epoch(epoch)))
    for rank in (0, 1):
        share = {"rank": rank, "world_size": 2}
        assert_same(
            *(list(make(root, Augment(), FITTING, **share).epoch(1)) for make in (held, loaded)),
        )


@pytest.mark.parametrize("paste", [0.0, 0.7])
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_have_the_batches_of_one(processes, paste, scenes_folder):
    """Order, augmentation and what is pasted: the shares of 23 items in batches of 6, put together again."""
    root = scenes_folder({"train": 23, "val": 1})
    for number in (2, 9):  # a class that only two pictures show
        mask = np.zeros((12, 16), np.uint8)
        mask[4:9, 3:11] = 2
        Image.fromarray(mask).save(root / f"masks/train/{number:03d}.png")
    augment = replace(VARIED, paste=paste)
    whole = list(held(root, augment, batch_size=6).epoch(1))
    shares = [
        list(held(root, augment, batch_size=6 // processes, rank=rank, world_size=processes).epoch(1))
        for rank in range(processes)
    ]
    assert {len(share) for share in shares} == {len(whole)} == {4}
    for number, batch in enumerate(whole):
        for name in ("indices", "pictures", "targets"):
            parts = torch.stack([getattr(share[number], name) for share in shares], 1)  # they take items in turn
            assert torch.equal(parts.flatten(0, 1)[: len(batch)], getattr(batch, name))


@pytest.mark.parametrize("augment", [VARIED, Augment(scale=(0.7, 1.0), policy="random", hue=0.1)])
def test_resume_gives_the_batches_of_an_uninterrupted_run(scenes_folder, augment):
    root = scenes_folder({"train": 14, "val": 1})
    whole = [list(held(root, augment).epoch(epoch)) for epoch in range(2)]
    assert (whole[0][0].pictures.shape, whole[0][0].pictures.dtype) == ((4, 3, 16, 16), torch.float32)
    assert whole[0][0].pictures.is_contiguous(memory_format=torch.channels_last)
    assert (whole[0][0].targets.shape, whole[0][0].targets.dtype) == ((4, 16, 16), torch.uint8)
    assert not torch.equal(whole[0][0].pictures, whole[1][0].pictures)
    again = held(root, augment, workers=2)
    assert_same(list(again.epoch(1, start_batch=2)), whole[1][2:])
    assert_same(list(again.epoch(0, start_batch=1)), whole[0][1:])
    other = next(iter(held(root, augment, seed=4).epoch(0)))
    assert not torch.equal(other.pictures, whole[0][0].pictures)


@pytest.mark.parametrize("resize", ["crop", "shorter", "stretch"])
def test_a_picture_is_held_as_evaluation_shows_it_and_its_mask_likewise(resize):
    preprocess = Preprocess(height=20, width=20, resize=resize, crop_fraction=0.8, channels="BGR")
    mask = np.zeros((30, 44), np.uint8)
    mask[8:20, 10:30] = 1
    picture = Image.fromarray(np.repeat((mask * 200)[..., None], 3, 2))
    pixels, target = FitTransform(preprocess)(picture, mask)
    expected, _ = EvalTransform(preprocess)(picture, 0)
    ordered = pixels[..., ::-1]  # normalise orders again
    np.testing.assert_array_equal(preprocess.normalise(ordered), expected)
    assert target.shape == pixels.shape[:2]
    # The mask's edges are where the picture passes half its brightness, or within a pixel's blending.
    assert ((pixels[..., 0] > 100) != (target == 1)).mean() < 0.03


def test_what_fits_is_left_alone():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8))
    pixels, _ = FitTransform(Preprocess(height=12, width=16, crop_fraction=0.5))(picture, 0)
    np.testing.assert_array_equal(pixels, np.asarray(picture))


def test_bad_pictures_are_left_out_and_named(classes_folder):
    root = classes_folder({"train/cat": 12, "val/cat": 1})
    (root / "train/cat/005.png").write_bytes(b"broken")
    loader = held(root)
    assert len(loader) == 3
    for epoch in range(2):
        batches = list(loader.epoch(epoch))
        assert [len(batch.bad) for batch in batches] == [1, 0, 0]
        assert batches[0].bad[0].name.endswith("train/cat/005.png")
        indices = torch.cat([batch.indices for batch in batches]).tolist()
        assert sorted(indices) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    plain = next(iter(held(root, Augment(), FITTING).epoch(0)))
    for index, picture in zip(plain.indices.tolist(), plain.pictures, strict=True):
        expected = FITTING(Image.open(root / f"train/cat/{index:03d}.png"))
        np.testing.assert_array_equal(picture, expected)


def test_shards_keep_the_order_of_their_lanes(classes_folder, tmp_path):
    root = classes_folder({"train/cat": 17, "train/dog": 14, "val/cat": 3})
    write_shards(open_data(root), tmp_path / "shards", shard_bytes=6000)
    ours, theirs = (make(tmp_path / "shards", Augment(), FITTING) for make in (held, loaded))
    assert len(ours.dataset.source.runs("train")) > 2
    assert_same(list(ours.epoch(2)), list(theirs.epoch(2)))


def test_nothing_but_bad_pictures(classes_folder):
    root = classes_folder({"train/cat": 2, "val/cat": 1})
    for number in (0, 1):
        (root / f"train/cat/00{number}.png").write_bytes(b"broken")
        (batch,) = held(root).epoch(0)
        assert (len(batch), len(batch.pictures), len(batch.bad)) == (0, 0, number + 1)


def test_contradictions_raise_their_line(scenes_folder):
    root = scenes_folder({"train": 2, "val": 1})
    Image.fromarray(np.full((12, 16), 9, np.uint8)).save(root / "masks/train/000.png")
    with pytest.raises(DataError, match=r"masks/train/000\.png: value 9"):
        next(held(root).epoch(0))


def test_several_sizes_are_refused_with_the_remedy(scenes_folder):
    root = scenes_folder({"train": 3, "val": 1})
    Image.new("RGB", (30, 15)).save(root / "images/train/001.jpg")
    Image.new("L", (30, 15)).save(root / "masks/train/001.png")
    shorter = Preprocess(height=12, width=12, resize="shorter")
    with pytest.raises(DataError, match=r"images/train/001\.jpg: is 24x12 once scaled, .*16x12.*--set held=false"):
        next(held(root, preprocess=shorter).epoch(0))


def test_a_device_with_too_little_memory_is_refused_with_both_numbers(classes_folder, monkeypatch):
    root = classes_folder({"train/cat": 3, "val/cat": 1})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    data = train_dataset(open_data(root), Augment(), SCALED, 0)
    loader = HeldLoader(data, batch_size=2, device=torch.device("cuda"), workers=0)
    with pytest.raises(OptionError, match=r"3 pictures takes .* GB, cuda has .* GB free; .*--set held=false"):
        next(loader.epoch(0))


def test_options_are_checked(classes_folder):
    root = classes_folder({"train/cat": 3, "val/cat": 1})
    for wrong in ({"batch_size": 0}, {"rank": 1}):
        with pytest.raises(OptionError):
            held(root, **wrong)
    with pytest.raises(OptionError, match="workers"):
        next(held(root, workers=-1).epoch(0))
    plain = PictureDataset(open_data(root), "train", EvalTransform(SCALED))
    with pytest.raises(OptionError, match="train_dataset"):
        HeldLoader(plain, batch_size=2, device=CPU)


def test_rare_things_are_pasted_from_the_lenders_that_the_dataset_draws(scenes_folder):
    """Unmoved, so the loader's own pasting is the reference, which reads the lender's file."""
    root = scenes_folder({"train": 9, "val": 1})
    for number in range(9):
        mask = np.zeros((12, 16), np.uint8)
        mask[6:] = 1
        if number in (3, 7):
            mask[7:10, number : number + 3] = 2
        Image.fromarray(mask).save(root / f"masks/train/{number:03d}.png")
    pasting = Augment(paste=0.7)
    assert RareThings.of(open_data(root), "train", 0.7).lenders == {2: [3, 7]}
    for epoch in range(2):
        assert_same(*(list(make(root, pasting, FITTING).epoch(epoch)) for make in (held, loaded)))
    broken = train_dataset(open_data(root), Augment(paste=1.0), FITTING, 0)
    for number in (3, 7):  # a lender that cannot be read lends nothing
        (root / f"images/train/{number:03d}.jpg").write_bytes(b"broken")
    for batch in HeldLoader(broken, batch_size=4, device=CPU, workers=0).epoch(0):
        assert (batch.targets != 2).all()


def test_any_items_as_one_batch(classes_folder):
    """Asked for by their indices: those that can be read, augmented, and the same whenever they are asked for."""
    root = classes_folder({"train/cat": 4, "train/dog": 4, "val/cat": 1})
    (root / "train/cat").joinpath(sorted(path.name for path in (root / "train/cat").iterdir())[1]).write_bytes(
        b"broken"
    )
    for make in (held, loaded):
        loader = make(root, Augment(), FITTING)
        batch = loader.batch_of(0, [6, 1, 0])
        assert batch.indices.tolist() == [6, 0]
        whole = {int(i): p for part in loader.epoch(0) for i, p in zip(part.indices, part.pictures, strict=True)}
        assert all(
            torch.equal(picture, whole[int(i)]) for i, picture in zip(batch.indices, batch.pictures, strict=True)
        )
        varied = make(root)
        first, again, later = (varied.batch_of(epoch, [6, 0]).pictures for epoch in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, later)
