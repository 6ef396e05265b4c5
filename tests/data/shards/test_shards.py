"""Shards: the same pictures as the files they were made of, from a folder, from the web, and of other tools."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from hswish.data import (
    Augment,
    EvalLoader,
    PictureDataset,
    TrainLoader,
    TrainTransform,
    class_frequencies,
    open_data,
)
from hswish.data.loading.order import epoch_order
from hswish.data.shards.cache import cache_capacity
from hswish.data.shards.writing import write_shards
from hswish.spec.errors import DataError, DownloadError, OptionError, SaveError
from hswish.spec.preprocess import Preprocess
from tests.servers.web import FolderWeb

PREPROCESS = Preprocess(height=16, width=16)
SMALL = 8000
"""Bytes a shard: a few pictures each."""


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def pictures(classes_folder):
    return classes_folder({"train/cat": 17, "train/dog": 14, "val/cat": 3, "val/dog": 3})


@pytest.fixture
def shards(pictures, tmp_path):
    write_shards(open_data(pictures), tmp_path / "shards", shard_bytes=SMALL)
    return tmp_path / "shards"


def content(source, split):
    """What a split holds, whatever its order: the pixels and the target of each item."""
    pairs = [source.read(item) for item in source.items(split)]
    return sorted((picture.tobytes(), np.asarray(target).tobytes()) for picture, target in pairs)


def batches(source, epochs=2, workers=0, start=0, rank=0, world_size=1, batch_size=4):
    """What training would see."""
    transform = TrainTransform(Augment(mirror=0.5, brightness=0.3), PREPROCESS, source.task)
    loader = TrainLoader(
        PictureDataset(source, "train", transform, seed=7),
        batch_size=batch_size,
        seed=7,
        workers=workers,
        rank=rank,
        world_size=world_size,
    )
    return [batch for epoch in range(epochs) for batch in loader.epoch(epoch, start if epoch == 0 else 0)]


def assert_same(a, b):
    assert len(a) == len(b) > 0
    for left, right in zip(a, b, strict=True):
        assert torch.equal(left.pictures, right.pictures)
        assert torch.equal(left.targets, right.targets)


# ---- what is in them ----


def test_shards_hold_the_pictures_of_the_folder(pictures, shards):
    folder, sharded = open_data(pictures), open_data(shards)
    assert (sharded.task, sharded.classes) == (folder.task, folder.classes)
    assert sharded.made_splits is None
    for split in ("train", "val"):
        assert content(sharded, split) == content(folder, split)
    assert len(list(shards.glob("train/*.tar"))) > 3
    assert sharded.median_size() == folder.median_size()
    assert sum(sharded.runs("train")) == 31
    assert class_frequencies(sharded, "train").tolist() == [17, 14]
    classes = [item.target for item in sharded.items("train")]
    assert classes != sorted(classes)  # a shard is no class


def test_masks_travel_without_loss(scenes_folder, tmp_path):
    root = scenes_folder({"train": 9, "val": 2})
    write_shards(open_data(root), tmp_path / "shards", shard_bytes=SMALL)
    folder, sharded = open_data(root), open_data(tmp_path / "shards")
    for split in ("train", "val"):
        assert content(sharded, split) == content(folder, split)
        assert class_frequencies(sharded, split).tolist() == class_frequencies(folder, split).tolist()
    assert "masks/train" not in str(sharded.items("train")[0])
    assert sharded.label(sharded.items("val")[0]).endswith("shards/val/000000.tar/images/000.jpg")


def test_equal_data_give_equal_bytes_and_a_seed_another_order(pictures, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_shards(open_data(pictures), tmp_path / name, shard_bytes=SMALL, seed=seed)
    read = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).rglob("*")) if path.is_file()] for name in "abc"
    }
    assert read["a"] == read["b"]
    assert read["a"] != read["c"]


def test_built_in_and_unsplit_data_can_be_sharded(classes_folder, tmp_path):
    write_shards(open_data(classes_folder({"cat": 10, "dog": 10})), tmp_path / "made")
    assert {split: len(items) for split, items in open_data(tmp_path / "made").splits.items()} == {
        "train": 16,
        "val": 4,
    }
    digits = open_data("digits")
    digits = digits.divided({split: items[:20] for split, items in digits.splits.items()}, "fewer")
    write_shards(digits, tmp_path / "digits", shard_bytes=10**6)
    sharded = open_data(tmp_path / "digits")
    assert not sharded.hints.mirror
    assert content(sharded, "val") == content(digits, "val")


def test_names_that_would_share_a_key(classes_folder, tmp_path):
    root = classes_folder({"train/cat": 2, "val/cat": 1})
    for name in ("000.jpg", "0.0.png", "0_0.png"):
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(root / "train/cat" / name)
    write_shards(open_data(root), tmp_path / "shards")
    assert content(open_data(tmp_path / "shards"), "train") == content(open_data(root), "train")


def test_bad_files_are_left_out_when_shards_are_made(pictures, tmp_path):
    (pictures / "train/cat/003.png").write_bytes(b"no picture")
    made = write_shards(open_data(pictures), tmp_path / "shards")
    assert [name for name, _ in made.skipped] == [str(pictures / "train/cat/003.png")]
    assert len(open_data(tmp_path / "shards").items("train")) == 30


def test_a_bad_member_is_skipped_and_listed_by_name(shards):
    source = open_data(shards)
    item = source.items("train")[5]
    offset = source.reader.store._offsets[item.picture]
    shard = shards / item.picture.split("@")[0]
    whole = shard.read_bytes()
    data = bytearray(whole)
    data[offset + 40 : offset + 90] = b"x" * 50
    shard.write_bytes(bytes(data))
    index = (shards / "index.json").read_text()
    old, new = (hashlib.sha256(content).hexdigest() for content in (whole, data))
    (shards / "index.json").write_text(index.replace(old, new))  # its maker took it for a picture
    bad = [problem for batch in batches(open_data(shards), epochs=1) for problem in batch.bad]
    assert [(problem.name, problem.fatal) for problem in bad] == [(source.label(item), False)]
    assert sum(len(batch) for batch in batches(open_data(shards), epochs=1)) >= 29


def test_shards_are_not_written_over(shards, pictures):
    with pytest.raises(SaveError, match="already holds shards"):
        write_shards(open_data(pictures), shards)
    (shards / "index.json").unlink()  # unfinished: may be written again
    write_shards(open_data(pictures), shards, shard_bytes=SMALL)
    with pytest.raises(OptionError, match="1 byte or more"):
        write_shards(open_data(pictures), shards.parent / "other", shard_bytes=0)


# ---- order, resuming, ranks ----


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_batches_of_an_uninterrupted_run(shards, workers):
    whole = batches(open_data(shards))
    assert_same(batches(open_data(shards), workers=workers), whole)
    assert_same(batches(open_data(shards), workers=workers, start=5), whole[5:])


def test_training_goes_through_the_shards_in_lanes(shards):
    source = open_data(shards)
    order = epoch_order(31, 7, 0, runs=source.runs("train"))
    seen = [index for batch in batches(source, epochs=1) for index in batch.indices.tolist()]
    assert seen == order[: len(seen)]
    assert seen != epoch_order(31, 7, 0)[: len(seen)]


def test_ranks_see_each_picture_once_and_together_the_batches_of_one(shards):
    source = open_data(shards)
    one = batches(source, epochs=1, batch_size=8)
    two = [batches(source, epochs=1, batch_size=4, rank=rank, world_size=2) for rank in range(2)]
    together = [{*a.indices.tolist(), *b.indices.tolist()} for a, b in zip(*two, strict=True)]
    assert together[:-1] == [{*batch.indices.tolist()} for batch in one[:-1]]
    seen = [index for part in two for batch in part for index in batch.indices.tolist()]
    assert set(seen) == set(range(31))
    assert len(seen) <= 32  # one is repeated so that both have 16


def test_recorded_splits_fit_these_very_shards(pictures, shards):
    source = open_data(shards)
    again = open_data(shards).with_splits(source.split_record())
    assert again.splits == source.splits
    assert again.runs("train") == source.runs("train")
    shutil.rmtree(shards)
    Image.new("RGB", (16, 12)).save(pictures / "train/cat/000.png")  # one picture is another
    write_shards(open_data(pictures), shards, shard_bytes=SMALL)
    with pytest.raises(DataError, match="not in the data set any more; restore it or start a new run"):
        open_data(shards).with_splits(source.split_record())
    with pytest.raises(DataError, match=r"shards/cat/0\.png: is in the recorded split"):
        open_data(shards).with_splits({"train": ["cat/0.png"]})


# ---- what goes wrong ----


def test_shards_that_are_not_those_of_the_index(shards):
    first = shards / "train/000000.tar"
    first.write_bytes(first.read_bytes()[:-512])
    source = open_data(shards)
    with pytest.raises(DataError, match=r"000000\.tar: has .* bytes, not the .* of the index; copy it again"):
        source.read(source.items("train")[0])
    first.unlink()
    with pytest.raises(DataError, match=r"000000\.tar: is not there, but the index names it"):
        source.read(source.items("train")[0])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-40],
        lambda text: text[:20] + "[" * 100_000,
        lambda text: text.replace("train/000000.tar", "../../etc/000000.tar"),
        lambda text: text.replace("train/000000.tar", "/etc/passwd"),
        lambda text: text.replace('"sha256":"', '"sha256":"../'),
        lambda text: text.replace('"bytes":', '"bytes":-'),
        lambda text: text.replace('"classes":["cat","dog"]', '"classes":["cat"]'),
        lambda text: text.replace('"task":"classification"', '"task":"detection"'),
        lambda text: text.replace('"train":{', '"elsewhere":{'),
    ],
)
def test_a_hostile_or_damaged_index_is_refused(shards, spoil):
    path = shards / "index.json"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DataError, match=r"index\.json: not an index of shards, or damaged") as caught:
        open_data(shards)
    assert "\n" not in str(caught.value)


def test_an_index_of_a_newer_version(shards):
    document = json.loads((shards / "index.json").read_text())
    (shards / "index.json").write_text(json.dumps({**document, "hswish_shards": 2}))
    with pytest.raises(DataError, match="version 2 of the shards' index, this hswish reads 1; update it"):
        open_data(shards)
    (shards / "index.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="for classification, not segmentation"):
        open_data(shards, task="segmentation")


# ---- over HTTP ----


@pytest.mark.parametrize("ranges", [True, False])
def test_the_web_gives_what_the_folder_gives(shards, ranges, home):
    expected = batches(open_data(shards), epochs=1)
    with FolderWeb(shards, ranges) as web:
        source = open_data(web.url())
        assert source.name == "set"
        assert_same(batches(source, epochs=1, workers=2), expected)
        for shard in shards.glob("train/*.tar"):  # once, whichever process needed it first
            assert web.count(f"train/{shard.name}") == 1
        asked = len(web.requests)
        assert_same(batches(source, epochs=1), expected)
        assert len(web.requests) == asked
        assert open_data(web.url("index.json")).splits == source.splits
        (batch,) = EvalLoader(source, "val", PREPROCESS, batch_size=8, workers=0)
        assert len(batch) == 6


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connections_are_mended(pictures, tmp_path, ranges):
    """A server with ranges goes on from where it broke off, one without begins again; the bytes are right."""
    write_shards(open_data(pictures), tmp_path / "large")
    expected = batches(open_data(tmp_path / "large"), epochs=1)
    with FolderWeb(tmp_path / "large", ranges) as web:
        web.files["/train/000000.tar"].refusals = [(503, {})]
        web.files["/train/000000.tar"].cuts = [20_000, 20_000, 0]
        assert_same(batches(open_data(web.url()), epochs=1), expected)
        asked = [asked for path, asked in web.asked if path == "train/000000.tar"]
        assert asked[:3] == [None, None, "bytes=16384-"]
        assert len(asked) == 5


def test_what_is_not_there_ends_with_its_address(shards):
    with FolderWeb(shards) as web:
        source = open_data(web.url())
        (shards / "train/000001.tar").unlink()
        bad = [problem for batch in batches(source, epochs=1) for problem in batch.bad]
        assert bad
        assert all(problem.fatal for problem in bad)
        assert bad[0].name == web.url("train/000001.tar")
        assert "there is no such file (404)" in bad[0].reason
        with pytest.raises(DownloadError, match=r"elsewhere/index\.json: there is no such file \(404\).*hswish shard"):
            open_data(web.url("elsewhere"))
    with pytest.raises(DataError, match="cannot be reached"):
        source.read(source.items("val")[0])


def test_wrong_bytes_from_a_server_are_never_used(shards):
    with FolderWeb(shards) as web:
        source = open_data(web.url())
        for path in shards.glob("train/*.tar"):
            data = bytearray(path.read_bytes())
            data[-600] ^= 1
            path.write_bytes(bytes(data))
        with pytest.raises(DataError, match="wrong bytes"):
            source.read(source.items("train")[0])


def test_data_larger_than_the_cache(shards, home, monkeypatch):
    """There is never more on disk than allowed, and the pictures are right all the same."""
    expected = batches(open_data(shards), epochs=2)
    sizes = [path.stat().st_size for path in shards.glob("train/*.tar")]
    limit = 3 * max(sizes)
    assert limit < 0.6 * sum(sizes)
    monkeypatch.setenv("HSWISH_SHARD_CACHE_GB", str(limit / 1e9))
    monkeypatch.setattr("hswish.data.shards.store._OPEN_SHARDS", 2)
    with FolderWeb(shards) as web:
        source = open_data(web.url())
        loader = TrainLoader(
            PictureDataset(
                source, "train", TrainTransform(Augment(mirror=0.5, brightness=0.3), PREPROCESS, source.task), 7
            ),
            batch_size=4,
            seed=7,
            workers=0,
        )
        seen = []
        for epoch in range(2):
            for batch in loader.epoch(epoch):
                seen.append(batch)
                assert sum(path.stat().st_size for path in (home / "shards").glob("*.tar")) <= limit
        assert_same(seen, expected)


def test_shards_are_fetched_before_they_are_asked_for(pictures, tmp_path, monkeypatch, home):
    """A little ahead: the first batches' shards and four more, then as the epoch goes on; never twice."""
    monkeypatch.setattr("hswish.data.loading.order.LANES", 2)
    write_shards(open_data(pictures), tmp_path / "shards", shard_bytes=4_500)
    count = len(list((tmp_path / "shards").glob("train/*.tar")))
    with FolderWeb(tmp_path / "shards") as web:
        source = open_data(web.url())
        loader = TrainLoader(
            PictureDataset(source, "train", TrainTransform(Augment(), PREPROCESS, source.task)), batch_size=2, workers=0
        )
        epoch = loader.epoch(0)
        next(epoch)
        here = []
        for _ in range(200):
            here.append(len(list((home / "shards").glob("*.tar"))))
            if here[-1] >= 6:
                break
            time.sleep(0.02)
        time.sleep(0.2)  # and then it waits
        here.append(len(list((home / "shards").glob("*.tar"))))
        assert here[-1] == 6 < count  # of two lanes one each, and four more
        list(epoch)
        asked = [path for path, _ in web.asked if path.startswith("train/")]
        assert len(set(asked)) == len(asked) == count - 1  # the last batch would have been one picture, in one shard
    assert not [thread for thread in threading.enumerate() if thread.name == "hswish-fetch-ahead"]


@pytest.mark.parametrize("wrong", ["much", "-1", "0", "nan"])
def test_the_size_of_the_cache_is_checked(monkeypatch, wrong):
    monkeypatch.setenv("HSWISH_SHARD_CACHE_GB", wrong)
    with pytest.raises(OptionError, match="HSWISH_SHARD_CACHE_GB must be a number"):
        cache_capacity()


# ---- of other tools, for other tools ----


def test_the_webdataset_package_reads_our_shards(pictures, shards):
    webdataset = pytest.importorskip("webdataset")
    files = [str(path) for path in sorted(shards.glob("train/*.tar"))]
    found = [
        (picture.tobytes(), label)
        for picture, label in webdataset.WebDataset(files, shardshuffle=False).decode("pil").to_tuple("png", "cls")
    ]
    folder = open_data(pictures)
    expected = [(picture.tobytes(), target) for picture, target in map(folder.read, folder.items("train"))]
    assert sorted(found) == sorted(expected)


def test_shards_of_the_webdataset_package_are_read(tmp_path, scenes_folder):
    webdataset = pytest.importorskip("webdataset")
    (tmp_path / "made").mkdir()
    for split, count in (("train", 12), ("val", 4)):
        pattern = str(tmp_path / f"made/flowers-{split}-%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=5, verbose=0) as writer:
            for number in range(count):
                pixels = np.full((8, 8, 3), 20 * number, np.uint8)
                writer.write({"__key__": f"{number:05d}", "png": pixels / 255, "cls": number % 3, "json": {"x": 1}})
    source = open_data(tmp_path / "made")
    assert (source.task, source.classes) == ("classification", ("0", "1", "2"))
    assert {split: len(items) for split, items in source.splits.items()} == {"train": 12, "val": 4}
    assert source.runs("train") == (5, 5, 2)
    picture, target = source.read(source.items("train")[7])
    assert (np.asarray(picture)[0, 0, 0], target) == (140, 1)
    (tmp_path / "made/classes.txt").write_text("rose\ntulip\noak\n")
    assert open_data(tmp_path / "made").classes == ("rose", "tulip", "oak")
    write_shards(open_data(tmp_path / "made"), tmp_path / "ours")
    assert content(open_data(tmp_path / "ours"), "train") == content(source, "train")


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path.parent


def png(colour=0):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_classes_by_name_samples_without_a_class_and_hidden_order(tmp_path):
    members = [(f"{index}.png", png(index)) for index in range(12)]
    labels = [(f"{index}.cls", b"dog" if index % 2 else b"cat") for index in range(11)]  # the last has none
    interleaved = [entry for index in range(11) for entry in (labels[index], members[index])] + members[11:]
    (tmp_path / "s").mkdir()
    source = open_data(tar_of(tmp_path / "s/train.tar", interleaved))
    assert source.classes == ("cat", "dog")
    assert len(source.skipped) == 1
    assert "has no .cls" in source.skipped[0][1]


def test_an_archive_beside_what_was_unpacked_from_it_is_no_shard(pictures, tmp_path):
    tar_of(pictures / "pictures.tar", [("a.png", png())])
    assert not open_data(pictures).sharded
    (tmp_path / "s").mkdir()
    folder = tar_of(tmp_path / "s/train-0.tar", [("a.png", png()), ("a.cls", b"0"), ("b.png", png(9)), ("b.cls", b"1")])
    (folder / "index.json").write_text('{"wids_version": 1, "shardlist": []}')
    assert len(open_data(folder).classes) == 2


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.txt", b"x")], "no sample in its 1 shards"),
        ([("a.png", b"p"), ("a.cls", b"0"), ("b.png", b"p"), ("b.seg.png", b"m")], "1 of 2 samples have masks"),
        (
            [("a.png", b"p"), ("a.cls", b"0"), ("b.png", b"p"), ("b.cls", b"0"), ("a.png", b"p"), ("a.cls", b"1")],
            r"0\.tar: the key 'a' occurs twice",
        ),
        ([("a.png", b"p"), ("a.seg.png", b"m")], r"classes\.txt: missing"),
    ],
)
def test_foreign_shards_that_do_not_fit(tmp_path, members, words):
    (tmp_path / "s").mkdir()
    with pytest.raises(DataError, match=words):
        open_data(tar_of(tmp_path / "s/0.tar", members))


@pytest.mark.parametrize(
    ("classes", "cls", "words"),
    [
        ("sky\n\nroad\ncar", "0", r"classes\.txt: line 2 is blank"),
        ("sky\nroad\nsky", "0", r"classes\.txt: class 'sky' stands on lines 1 and 3"),
        ("", "0", r"classes\.txt: is empty"),
        ("K\u00e4fer", "0", r"classes\.txt: is not UTF-8"),
        (None, "99999999", r"a \.cls speaks of class 99999999; 1048576"),
        ("sky\nroad", "\u00b2", r"classes\.txt: does not name the class"),
    ],
)
def test_class_names_of_foreign_shards_are_those_of_a_folder(tmp_path, classes, cls, words):
    (tmp_path / "s").mkdir()
    if classes is not None:
        (tmp_path / "s/classes.txt").write_text(classes, encoding="latin-1")
    with pytest.raises(DataError, match=words):
        open_data(tar_of(tmp_path / "s/0.tar", [("a.png", png()), ("a.cls", cls.encode())]))


@pytest.mark.parametrize("keep", [100, 1300])
def test_a_foreign_shard_that_is_cut_short(tmp_path, keep):
    (tmp_path / "s").mkdir()
    folder = tar_of(tmp_path / "s/0.tar", [(f"{index}.png", bytes(900)) for index in range(3)])
    (folder / "0.tar").write_bytes((folder / "0.tar").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"0\.tar: (not a readable tar file|is cut short)"):
        open_data(folder)
