"""`classes.txt`: what is written is read back, and names that it cannot hold are said before anything is."""

from __future__ import annotations

import os

import pytest

from hswish.data import open_data
from hswish.data.class_names import class_names_text, parse_class_names
from hswish.data.shards.writing import write_shards
from hswish.spec.errors import DataError


def test_what_is_written_is_read_back():
    names = ("cat", "Käfer", "名前", "a b", "100%")
    assert class_names_text(names, "set") == "cat\nKäfer\n名前\na b\n100%\n"
    assert parse_class_names(class_names_text(names, "set").encode(), "classes.txt", 5) == names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"caf\xe9", r"the name of the class 'caf\\udce9' is not UTF-8 text"),
        (b"a\nb", r"the name of the class 'a\\nb' is not one line"),
        ("a\u2028b".encode(), r"the name of the class 'a\\u2028b' is not one line"),
        (b"a\rb", r"the name of the class 'a\\rb' is not one line"),
    ],
)
def test_names_that_a_line_cannot_hold(classes_folder, tmp_path, name, words):
    root = classes_folder({"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/dog": 1})
    for split in ("train", "val"):
        (root / split / "dog").rename(root / split / os.fsdecode(name))
    with pytest.raises(DataError, match=rf"set: {words}.*; rename its folder") as caught:
        write_shards(open_data(root), tmp_path / "shards")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "shards").exists()
