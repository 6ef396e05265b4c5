"""Bytes of a shard are those of the index wherever they come from, and no shard is hashed twice for it."""

from __future__ import annotations

import hashlib
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from hswish.data import Augment, PictureDataset, TrainLoader, TrainTransform, open_data
from hswish.data.shards import verified
from hswish.data.shards.verified import Verified
from hswish.data.shards.writing import write_shards
from hswish.spec.errors import DataError
from hswish.spec.preprocess import Preprocess
from tests.servers.web import FolderWeb

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def shards(classes_folder, tmp_path):
    folder = classes_folder({"train/cat": 17, "train/dog": 14, "val/cat": 3, "val/dog": 3})
    write_shards(open_data(folder), tmp_path / "shards", shard_bytes=8000)
    return tmp_path / "shards"


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """The hashes made so far, also by loading processes."""
    log, real = tmp_path / "hashed.txt", hashlib.file_digest

    def noting(file, algorithm):
        digest = real(file, algorithm)
        with open(log, "a") as lines:
            lines.write(f"{digest.hexdigest()}\n")
        return digest

    monkeypatch.setattr(verified.hashlib, "file_digest", noting)
    return lambda: log.read_text().split() if log.exists() else []


def spoil(path):
    """One bit of the last picture is another; size and time of the file stay."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1500] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def batches(source, epochs, workers):
    transform = TrainTransform(Augment(), Preprocess(height=16, width=16), source.task)
    loader = TrainLoader(PictureDataset(source, "train", transform), batch_size=4, workers=workers)
    return [batch for epoch in range(epochs) for batch in loader.epoch(epoch)]


def pixels(source):
    return sorted(source.read(item)[0].tobytes() for item in source.items("train"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_in_a_folder_with_other_bytes_than_the_index_says(shards, workers):
    spoil(shards / "train/000001.tar")
    source = open_data(shards)
    with pytest.raises(DataError) as caught:
        pixels(source)
    said = str(caught.value)
    assert said.startswith(f"{shards}/train/000001.tar: has other bytes than those of the index")
    assert "copy it again, or make the shards again with `hswish shard`" in said
    assert "\n" not in said
    bad = {(problem.name, problem.fatal) for batch in batches(source, 1, workers) for problem in batch.bad}
    assert bad == {(f"{shards}/train/000001.tar", True)}


def test_a_file_in_the_cache_with_other_bytes_is_fetched_again(shards, home):
    expected = pixels(open_data(shards))
    with FolderWeb(shards) as web:
        assert pixels(open_data(web.url())) == expected
        count = len(list(shards.glob("train/*.tar")))
        first, second = sorted((home / "shards").glob("*.tar"))[:2]
        spoil(first)
        second.write_bytes(second.read_bytes()[:-512])
        assert pixels(open_data(web.url())) == expected
        asked = [path for path, _ in web.asked if path.startswith("train/")]
        assert len(asked) == count + 2
        for path in (first, second):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


@pytest.mark.parametrize("workers", [0, 2])
def test_each_shard_is_hashed_once_a_run(shards, hashed, workers):
    """Whichever loading processes come to it, however often it is opened."""
    hashed_before = len(hashed())
    source = open_data(shards)
    assert len(batches(source, 3, workers)) == 3 * 8
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in shards.glob("train/*.tar")]
    assert sorted(hashed()[hashed_before:]) == sorted(files)
    assert len(files) > 3


def test_each_shard_is_hashed_once_by_many_threads(shards, hashed, monkeypatch):
    monkeypatch.setattr("hswish.data.shards.store._OPEN_SHARDS", 1)  # opened again and again
    hashed_before, source = len(hashed()), open_data(shards)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(source.read, source.items("train")))
    assert len(hashed()) - hashed_before == len(list(shards.glob("train/*.tar")))


def test_what_was_downloaded_just_now_is_not_hashed_again(shards, hashed):
    with FolderWeb(shards) as web:
        before = len(hashed())
        pixels(open_data(web.url()))
        assert len(hashed()) - before == len(list(shards.glob("train/*.tar")))  # by the download


def test_a_file_that_changes_is_hashed_again(tmp_path):
    path, notes = tmp_path / "a.tar", Verified(3)
    path.write_bytes(b"x" * 5000)
    right = hashlib.sha256(b"x" * 5000).hexdigest()

    def fits():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return [notes.fits(number, descriptor, right) for number in (2, 2)]
        finally:
            os.close(descriptor)

    assert fits() == [True, True]
    path.write_bytes(b"x" * 4999 + b"y")
    os.utime(path, ns=(0, 1))
    assert fits() == [False, False]
    path.unlink()
    path.write_bytes(b"x" * 5000)
    assert fits() == [True, True]


def test_a_data_set_travels_to_another_process_without_the_notes(shards, hashed):
    source = open_data(shards)
    pixels(source)
    before = len(hashed())
    assert pixels(pickle.loads(pickle.dumps(source))) == pixels(source)
    assert len(hashed()) - before == len(list(shards.glob("train/*.tar")))
