"""Class names: as many as the data set has, each once, and whatever file a user names them in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hswish.spec.errors import OptionError
from hswish.spec.labels import LABEL_SETS, load_labels, read_labels

SIZES = {"imagenet1k": 1000, "voc21": 21, "cityscapes19": 19}


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_name_is_one_class(name: str) -> None:
    names = load_labels(name)
    assert len(names) == SIZES[name]
    assert len(set(names)) == len(names)
    assert all(label == label.strip() != "" for label in names)


def test_places_that_are_known() -> None:
    """Indices that textbooks and papers quote."""
    imagenet = load_labels("imagenet1k")
    assert [imagenet[index] for index in (0, 207, 281, 388, 985, 999)] == [
        "tench",
        "golden retriever",
        "tabby",
        "giant panda",
        "daisy",
        "toilet tissue",
    ]
    assert [load_labels("voc21")[index] for index in (0, 8, 15, 20)] == ["background", "cat", "person", "tvmonitor"]
    assert [load_labels("cityscapes19")[index] for index in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]


def test_an_unknown_set() -> None:
    with pytest.raises(OptionError, match="did you mean imagenet1k"):
        load_labels("imagenet")


@pytest.mark.parametrize("text", ["cat\ndog\n", "cat\r\ndog", "\ufeffcat\ndog\n\n\n", "  cat \n dog\t\n"])
def test_a_file_of_names(text: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(text.encode())
    assert read_labels(path) == ("cat", "dog")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "no class names in it"), (b" \n\n", "no class names in it"), (b"cat\n\ndog\n", "line 2 is blank"),
     (b"caf\xe9\n", "not UTF-8 text"), (b"cat\ndog\ncat\n", "'cat' stands in it twice")],
)  # fmt: skip
def test_files_that_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(data)
    with pytest.raises(OptionError, match=words) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OptionError, match="pipe: not a regular file"):
        read_labels(tmp_path / "pipe")


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(OptionError, match="cannot be read"):
            read_labels(path)
