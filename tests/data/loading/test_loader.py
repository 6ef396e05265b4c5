"""Datasets and loaders: order and resume are stateless, bad files come back as values."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hswish.data import (
    Augment,
    BadFile,
    EvalLoader,
    EvalTransform,
    PictureDataset,
    Sample,
    TrainLoader,
    TrainTransform,
    default_workers,
    open_data,
    raise_fatal,
)
from hswish.data.loading.loader import batched
from hswish.data.loading.order import epoch_order
from hswish.spec.errors import DataError, OptionError
from hswish.spec.preprocess import Preprocess

PREPROCESS = Preprocess(height=16, width=16)
AUGMENT = Augment(scale=(0.5, 1.0), mirror=0.5, brightness=0.3, rotate=10)


def dataset(root, seed=0, split="train"):
    source = open_data(root)
    return PictureDataset(source, split, TrainTransform(AUGMENT, PREPROCESS, source.task), seed)


def assert_same(a, b):
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert torch.equal(left.indices, right.indices)
        assert torch.equal(left.pictures, right.pictures)
        assert torch.equal(left.targets, right.targets)


# ---- order ----


@given(st.integers(1, 200), st.integers(0, 2**32), st.integers(0, 50))
def test_order_is_a_permutation_that_seed_and_epoch_decide(count, seed, epoch):
    order = epoch_order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    np.random.seed(1)
    torch.manual_seed(1)
    assert epoch_order(count, seed, epoch) == order
    if count > 20:
        assert epoch_order(count, seed, epoch + 1) != order
        assert epoch_order(count, seed + 1, epoch) != order


@given(st.integers(1, 60), st.integers(1, 5))
def test_shares_of_several_processes_cover_everything_equally(count, world_size):
    shares = [epoch_order(count, 0, 0, rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert set().union(*shares) == set(range(count))
    assert sum(map(len, shares)) - count < world_size


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 50), st.integers(0, 5))
def test_the_order_of_shards_is_a_permutation_too(runs, seed, epoch):
    count = sum(runs)
    order = epoch_order(count, seed, epoch, runs=runs)
    assert sorted(order) == list(range(count))
    assert epoch_order(count, seed, epoch, runs=runs) == order


@pytest.mark.parametrize("world_size", [2, 4, 8, 16])
def test_processes_have_shards_of_their_own(world_size):
    """Each shard is read by one process, two at the seams of the lanes; and by turns, not all over the epoch."""
    runs = [50] * 64
    shard = np.repeat(np.arange(64), 50)
    shares = [epoch_order(3200, 1, 2, rank, world_size, runs) for rank in range(world_size)]
    readers = [set(shard[share].tolist()) for share in shares]
    assert sum(map(len, readers)) <= 64 + 16
    assert set().union(*readers) == set(range(64))
    order = shard[epoch_order(3200, 1, 2, runs=runs)]
    open_at_once = [len(set(order[start : start + 160].tolist())) for start in range(0, 3200, 160)]
    assert max(open_at_once) <= 32  # sixteen lanes, each of which may change its shard meanwhile
    assert min(open_at_once) >= 16  # a batch is no single shard


@pytest.mark.parametrize(
    ("count", "size", "processes", "lengths"),
    [
        *((8, 4, 1, [4, 4]), (9, 4, 1, [4, 4]), (10, 4, 1, [4, 4, 2]), (1, 4, 1, [1]), (3, 4, 1, [3])),
        *((3, 1, 1, [1, 1, 1]), (9, 4, 2, [4, 4, 1])),  # two processes have two pictures
    ],
)
def test_no_last_batch_of_one(count, size, processes, lengths):
    batches = batched(range(count), size, processes)
    assert [len(batch) for batch in batches] == lengths
    assert [index for batch in batches for index in batch] == list(range(sum(lengths)))


@given(st.integers(2, 80), st.integers(1, 5), st.integers(1, 4))
def test_several_processes_make_as_many_steps_as_one(count, share, processes):
    """A picture that is repeated so that all have as many is no second one: 33 in batches of 16 are two steps."""
    whole = batched(epoch_order(count, 1, 2), share * processes)
    shares = [batched(epoch_order(count, 1, 2, rank, processes), share, processes, count) for rank in range(processes)]
    assert {len(batches) for batches in shares} == {len(whole)}
    for number, batch in enumerate(whole):
        assert set().union(*(batches[number] for batches in shares)) >= set(batch)


# ---- training ----


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_gives_the_batches_of_an_uninterrupted_run(scenes_folder, workers):
    root = scenes_folder({"train": 11, "val": 1})
    loader = TrainLoader(dataset(root, seed=4), batch_size=3, seed=4, workers=workers)
    assert len(loader) == 4
    whole = [list(loader.epoch(epoch)) for epoch in range(3)]
    assert whole[0][0].pictures.shape == (3, 3, 16, 16)
    assert (whole[0][0].targets.shape, whole[0][0].targets.dtype) == ((3, 16, 16), torch.uint8)
    assert not torch.equal(whole[0][0].indices, whole[1][0].indices)
    resumed = TrainLoader(dataset(root, seed=4), batch_size=3, seed=4, workers=0)
    assert_same(list(resumed.epoch(1, start_batch=2)), whole[1][2:])
    assert_same(list(resumed.epoch(2)), whole[2])


def test_an_epoch_left_early_does_not_leak_into_the_next(classes_folder):
    loader = TrainLoader(dataset(classes_folder({"train/cat": 20, "val/cat": 1})), batch_size=2, workers=2)
    expected = list(loader.epoch(1))
    next(loader.epoch(0))
    assert_same(list(loader.epoch(1)), expected)


def test_global_random_state_is_left_alone(classes_folder):
    loader = TrainLoader(dataset(classes_folder({"train/cat": 6, "val/cat": 1})), batch_size=2, workers=0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(loader.epoch(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_targets_are_the_classes_of_the_pictures(classes_folder):
    data = dataset(classes_folder({"train/cat": 5, "train/dog": 6, "val/cat": 1}))
    (batch,) = TrainLoader(data, batch_size=16, workers=0).epoch(0)
    assert batch.targets.dtype == torch.int64
    assert [data.items[index].target for index in batch.indices] == batch.targets.tolist()


def test_augmentation_changes_with_the_epoch_and_the_seed(classes_folder):
    root = classes_folder({"train/cat": 2, "val/cat": 1})
    data = dataset(root)
    first, again = data[(0, 1)], data[(0, 1)]
    assert np.array_equal(first.picture, again.picture)
    assert not np.array_equal(first.picture, data[(1, 1)].picture)
    assert not np.array_equal(first.picture, dataset(root, seed=9)[(0, 1)].picture)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_pictures_come_back_by_name(classes_folder, workers):
    root = classes_folder({"train/cat": 12, "val/cat": 1})
    (root / "train/cat/005.png").write_bytes((root / "train/cat/005.png").read_bytes()[:200])
    batches = list(TrainLoader(dataset(root), batch_size=4, workers=workers).epoch(0))
    bad = [problem for batch in batches for problem in batch.bad]
    assert [(problem.name.endswith("train/cat/005.png"), problem.fatal) for problem in bad] == [(True, False)]
    assert sorted(len(batch) for batch in batches) == [3, 4, 4]
    raise_fatal(bad)


def test_contradictions_are_fatal_and_raise_the_same_line(scenes_folder):
    root = scenes_folder({"train": 2, "val": 1})
    Image.fromarray(np.full((12, 16), 9, np.uint8)).save(root / "masks/train/000.png")
    problem = dataset(root)[0]
    assert isinstance(problem, BadFile)
    assert problem.fatal
    with pytest.raises(DataError, match=r"masks/train/000\.png: value 9"):
        raise_fatal([problem])


def test_batch_that_bad_files_leave_with_one_picture_is_empty(classes_folder):
    root = classes_folder({"train/cat": 2, "val/cat": 1})
    (root / "train/cat/000.png").write_bytes(b"broken")
    (batch,) = TrainLoader(dataset(root), batch_size=2, workers=0).epoch(0)
    assert (len(batch), len(batch.pictures), len(batch.bad)) == (0, 0, 1)


def test_a_data_set_of_one_picture_trains(classes_folder):
    (batch,) = TrainLoader(dataset(classes_folder({"cat": 1})), batch_size=4, workers=0).epoch(0)
    assert batch.pictures.shape == (1, 3, 16, 16)


# ---- evaluation ----


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_order_and_own_sizes(scenes_folder, workers):
    root = scenes_folder({"val": 5})
    Image.new("RGB", (30, 20)).save(root / "images/val/001.jpg")
    Image.new("L", (30, 20)).save(root / "masks/val/001.png")
    source = open_data(root)
    shorter = Preprocess(height=24, width=24, resize="shorter")
    loader = EvalLoader(source, "val", shorter, batch_size=2, workers=workers)
    for _ in range(2):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert [index for batch in batches for index in batch.indices] == list(range(5))
        assert batches[0].sizes == [(12, 16), (20, 30)]
        assert [target.shape for target in batches[0].targets] == [(12, 16), (20, 30)]
        assert [picture.shape for picture in batches[0].pictures] == [(3, 24, 32), (3, 24, 36)]
        np.testing.assert_array_equal(batches[0].pictures[0], shorter(source.read_picture(source.items("val")[0])))
        assert batches[0].names[1].endswith("images/val/001.jpg")


def test_a_limit_meets_every_class(classes_folder):
    source = open_data(classes_folder({f"val/{kind}": 5 for kind in "abcd"}))
    (batch,) = EvalLoader(source, "val", PREPROCESS, batch_size=8, workers=0, limit=4)
    assert batch.targets == [0, 1, 2, 3]
    assert sum(map(len, EvalLoader(source, "val", PREPROCESS, batch_size=8, workers=0, limit=100))) == 20


def test_bad_files_of_an_evaluation(classes_folder):
    root = classes_folder({"val/cat": 3})
    (root / "val/cat/001.png").write_bytes(b"broken")
    (batch,) = EvalLoader(open_data(root), "val", PREPROCESS, batch_size=4, workers=0)
    assert batch.indices == [0, 2]
    assert "not a picture" in batch.bad[0].reason


def test_plain_index_and_sample(classes_folder):
    source = open_data(classes_folder({"val/cat": 3}))
    sample = PictureDataset(source, "val", EvalTransform(PREPROCESS))[2]
    assert isinstance(sample, Sample)
    assert (sample.index, sample.target, sample.size) == (2, 0, (12, 16))


def test_options_are_checked(classes_folder):
    data = dataset(classes_folder({"train/cat": 3, "val/cat": 1}))
    for wrong in ({"batch_size": 0}, {"batch_size": 1, "workers": -1}, {"batch_size": 1, "rank": 1}):
        with pytest.raises(OptionError):
            TrainLoader(data, **wrong)
    with pytest.raises(OptionError, match="limit"):
        EvalLoader(data.source, "val", PREPROCESS, batch_size=1, limit=0)


def test_workers_suit_the_machine(monkeypatch):
    assert 0 <= default_workers() <= 8
    monkeypatch.setattr("hswish.data.loading.workers.shutil.disk_usage", lambda path: os.terminal_size((0, 0)) and Tiny)
    assert default_workers() == 0 or not os.path.isdir("/dev/shm")  # noqa: PTH112


class Tiny:
    free = 64 << 20


def test_ctrl_c_ends_the_workers_without_a_traceback_of_theirs(classes_folder):
    root = classes_folder({"train/cat": 40, "val/cat": 1})
    code = f"""
import sys, time
from hswish.data import *
from hswish.spec.preprocess import Preprocess
loader = TrainLoader(PictureDataset(open_data({str(root)!r}), "train", EvalTransform(Preprocess(height=8, width=8))),
                     batch_size=2, workers=2)
try:
    for batch in loader.epoch(0):
        print("ready", flush=True)
        time.sleep(0.5)
except KeyboardInterrupt:
    sys.exit(130)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == ""


def test_opening_imports_neither_torch_nor_albumentations():
    code = (
        "import sys, hswish.data.source, hswish.data.layouts.recognise, hswish.data.opening, hswish.data.statistics\n"
        "from hswish.data import open_data, Augment\n"
        "print([name for name in ('torch', 'albumentations', 'sklearn', 'cv2') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
