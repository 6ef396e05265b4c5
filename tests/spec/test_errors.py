"""Errors: one line, a remedy, and safe passage between processes."""

from __future__ import annotations

import copy
import doctest
import pickle

import pytest

from hswish.spec import errors
from hswish.spec.errors import (
    DataError,
    DownloadError,
    HswishError,
    MissingPackageError,
    ModelFileError,
    OptionError,
    ParityError,
    PictureError,
    SaveError,
    unknown_name,
)

EXAMPLES = [
    HswishError("a"),
    DataError("b"),
    PictureError("a.jpg", "the file is empty"),
    ModelFileError("c"),
    OptionError("d"),
    SaveError("e"),
    DownloadError("f"),
    ParityError("g"),
    MissingPackageError("torch", "train", "training"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_is_ours_and_travels(error: HswishError) -> None:
    """Loader processes pickle what they raise; an error that cannot be unpickled hangs the run."""
    assert isinstance(error, HswishError)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_every_class_is_among_the_examples() -> None:
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert classes == {type(error) for error in EXAMPLES}


def test_picture_error_says_which_and_why() -> None:
    error = PictureError("a.jpg", "the file is empty")
    assert str(error) == "a.jpg: the file is empty"
    assert (error.name, error.reason) == ("a.jpg", "the file is empty")
    assert isinstance(error, DataError)


def test_missing_package_names_the_command() -> None:
    assert str(MissingPackageError("torch", "train", "training")) == (
        "training needs the package torch: pip install 'hswish[train]'"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mobilenet_v3_larg", "did you mean mobilenet_v3_large?"),
        ("MOBILENET_V3_LARGE", "did you mean mobilenet_v3_large?"),
        ("resnet", "choose from mobilenet_v3_large, vgg"),
        (7, "choose from mobilenet_v3_large, vgg"),
        (None, "choose from mobilenet_v3_large, vgg"),
        ("line\nbreak", "choose from mobilenet_v3_large, vgg"),
    ],
)
def test_unknown_name(name: object, hint: str) -> None:
    message = str(unknown_name("model", name, iter(["mobilenet_v3_large", "vgg"])))
    assert message.startswith("unknown model ")
    assert message.endswith(hint)
    assert "\n" not in message


def test_a_huge_name_is_cut() -> None:
    assert len(str(unknown_name("model", "x" * 10**6, ["vgg"]))) < 200


def test_nothing_to_choose_from() -> None:
    assert str(unknown_name("engine", "torch", [])) == "unknown engine 'torch'; there is none here"


def test_docstring_example() -> None:
    assert doctest.testmod(errors).failed == 0
