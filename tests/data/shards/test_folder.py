"""Shards whose writing was broken off: nobody trains on them, and writing them again ends right."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from hswish.data import open_data
from hswish.data.shards.folder import unfinished
from hswish.data.shards.writing import write_shards
from hswish.spec.errors import DataError, SaveError


class KilledError(BaseException):
    """In place of a signal that nothing can catch."""


@pytest.fixture
def pictures(classes_folder):
    return classes_folder({"train/cat": 9, "train/dog": 9, "val/cat": 3, "val/dog": 3})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def broken_off(pictures: Path, out: Path, after: int) -> None:
    def stop(done: int, total: int) -> None:
        if done == after:
            raise KilledError

    with pytest.raises(KilledError):
        write_shards(open_data(pictures), out, shard_bytes=2000, progress=stop)
    (out / "train").mkdir(exist_ok=True)
    (out / "train/.000007.tar.0123456789abcdef.part").write_bytes(b"half")  # as a killed process leaves it
    (out / ".lock").write_text("1 elsewhere")


@pytest.mark.parametrize("after", [1, 8, 23])
def test_nobody_trains_on_half_of_the_shards(pictures: Path, tmp_path: Path, after: int) -> None:
    broken_off(pictures, tmp_path / "shards", after)
    with pytest.raises(DataError, match=rf"{tmp_path}/shards: these shards are not whole.*--out {tmp_path}/shards"):
        open_data(tmp_path / "shards")


@pytest.mark.parametrize("after", [1, 8, 23])
def test_written_again_they_are_as_if_written_once(pictures: Path, tmp_path: Path, after: int) -> None:
    """Also in larger shards, of which there are fewer: no old one stays."""
    broken_off(pictures, tmp_path / "shards", after)
    write_shards(open_data(pictures), tmp_path / "shards", shard_bytes=8000)
    write_shards(open_data(pictures), tmp_path / "whole", shard_bytes=8000)
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
    assert not (tmp_path / "whole/unfinished.txt").exists()
    assert len(open_data(tmp_path / "shards").items("train")) == 18


def test_stopped_between_the_index_and_the_end_they_are_whole(pictures: Path, tmp_path: Path) -> None:
    write_shards(open_data(pictures), tmp_path / "shards")
    (tmp_path / "shards/unfinished.txt").write_text("...")
    assert len(open_data(tmp_path / "shards").items("train")) == 18


def test_two_that_write_into_one_folder(pictures: Path, tmp_path: Path) -> None:
    with (
        unfinished(tmp_path / "shards"),
        pytest.raises(SaveError, match=r"shards: another hswish shard \(process \d+ on .* is at work in this folder"),
    ):
        write_shards(open_data(pictures), tmp_path / "shards")


@pytest.mark.parametrize("name", ["imagenet-train-000.tar", "train/3.tar"])
def test_tar_files_of_others_are_not_mixed_in(pictures: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "shards" / name
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w"):
        pass
    with pytest.raises(SaveError, match=rf"{name}: a tar file that is not of `hswish shard`; choose another folder"):
        write_shards(open_data(pictures), tmp_path / "shards")
    assert contents(tmp_path / "shards").keys() == {name}
