"""ILSVRC's development kit: numbers of its own for the synsets, explained by a MATLAB file."""

from __future__ import annotations

import io
from typing import Any

from hswish.data.tree import Tree
from hswish.spec.errors import DataError, MissingPackageError

DEVKIT_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"


def devkit_table(tree: Tree) -> str | None:
    """Name of the table that explains the kit's numbers; it may lie anywhere."""
    return next((name for name in sorted(tree.files) if name.rpartition("/")[2] == _META), None)


def read_devkit(tree: Tree, truth: str) -> list[str]:
    """The synset of each val picture, in the order of their numbers.

    Args:
        truth: name of `ILSVRC2012_validation_ground_truth.txt`; `meta.mat` may lie anywhere.

    Raises:
        DataError: meta.mat is missing or damaged, or a number is not in it.
        MissingPackageError: scipy is not installed.
    """
    place = tree.label(truth)
    meta = devkit_table(tree)
    if meta is None:
        raise DataError(f"{place}: its numbers need {_META} of the same development kit; put it beside")
    synset_of = _synset_by_number(tree.read(meta), tree.label(meta))
    numbers = tree.read(truth).decode("ascii", "replace").split()
    wrong = next((number for number in numbers if not number.isdigit() or int(number) not in synset_of), None)
    if wrong is not None:
        raise DataError(f"{place}: {wrong[:20]!r} is no number of {_META}; take both from one development kit")
    return [synset_of[int(number)] for number in numbers]


def _synset_by_number(meta: bytes, place: str) -> dict[int, str]:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise MissingPackageError("scipy", "train", "reading ILSVRC's meta.mat") from error
    try:
        rows: Any = loadmat(io.BytesIO(meta), squeeze_me=True, struct_as_record=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows.ravel()}
    except Exception as error:  # the parser may raise anything on a damaged file
        raise DataError(f"{place}: not the development kit's table of synsets; unpack the kit again") from error
