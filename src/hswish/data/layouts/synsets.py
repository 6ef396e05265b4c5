"""ImageNet's synsets: which file says them of a flat val folder, and how the classes are called."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence

from hswish.data.layouts.devkit import DEVKIT_TRUTH, devkit_table, read_devkit
from hswish.data.tree import Tree
from hswish.spec.errors import DataError
from hswish.spec.labels import load_labels

_SYNSET = re.compile(r"n\d{8}")
_WORDS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
_IN_ORDER = "validation_synset_labels.txt"  # how the name of TensorFlow's file ends
_REMEDY = (
    "put LOC_val_solution.csv, or a text file val.txt of lines NAME SYNSET, into the data set, "
    "or sort the pictures into synset folders"
)


def is_synset(name: str) -> bool:
    """Whether a folder is called like a synset of WordNet: n and eight digits."""
    return _SYNSET.fullmatch(name) is not None


def class_names(tree: Tree, synsets: Sequence[str]) -> tuple[str, ...]:
    """A name for each of `synsets`, which are in order; every name is another."""
    words = _read_words(tree)
    thousand = sorted(words) if len(words) == 1000 else list(synsets)
    published = load_labels("imagenet1k")
    if len(thousand) == len(published) and set(synsets) <= set(thousand):
        return tuple(published[thousand.index(synset)] for synset in synsets)
    first = [words.get(synset, synset).split(",")[0].strip() or synset for synset in synsets]
    return tuple(
        name if first.count(name) == 1 else f"{name} ({synset})" for name, synset in zip(first, synsets, strict=True)
    )


def synsets_of_val(tree: Tree, folder: str, names: Sequence[str], train: Sequence[str]) -> dict[str, str]:
    """Synset by picture, for the `names` (in order) directly in `folder`.

    Args:
        train: the synsets of train in order, which an index in a file counts; may be empty.

    Raises:
        DataError: no file says the synsets, it names too few pictures, or it speaks of unknown ones.
    """
    files = sorted(tree.files, key=lambda name: (name.count("/"), name))
    known = [(file, read) for ending, read in _MAPPINGS for file in files if file.rpartition("/")[2].endswith(ending)]
    if not known:
        raise DataError(f"{tree.label(folder.rstrip('/'))}: no file says the synsets of its pictures; {_REMEDY}")
    whole = (entry for entry in known if not _is_half(tree, *entry))
    file, read = next(whole, known[0])  # who reads a half one says what it lacks
    found = read(tree, file, names, train)
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise DataError(f"{tree.label(file)}: does not say the synset of {missing}; {_REMEDY}")
    return found


def _is_half(tree: Tree, file: str, read: _Mapping) -> bool:
    """Whether a file says no synsets by itself: the kit's numbers without their table, or numbers of lines."""
    if read is _by_devkit:
        return devkit_table(tree) is None
    return read is _by_line and _are_running([words[1] for words in _words(tree, file)])


def _are_running(numbers: Sequence[str]) -> bool:
    """Whether they are 1, 2, 3, ...: the release's own ImageSets/CLS-LOC/val.txt numbers its lines so."""
    return bool(numbers) and list(numbers) == [str(number) for number in range(1, len(numbers) + 1)]


def _read_words(tree: Tree) -> dict[str, str]:
    """Words by synset, from the first file that lists them: a line is the synset and its words."""
    for wanted in _WORDS:
        for file in tree.files:
            if file.rpartition("/")[2] == wanted:
                lines = (line.split(maxsplit=1) for line in _lines(tree, file))
                return {line[0]: line[1].strip() for line in lines if len(line) == 2 and is_synset(line[0])}
    return {}


def _lines(tree: Tree, file: str) -> list[str]:
    try:
        return tree.read(file).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{tree.label(file)}: is not UTF-8 text; save it anew") from error


# --------------------------------------------------------------------------------------
# The files that may say the synsets of val
# --------------------------------------------------------------------------------------


def _by_solution(tree: Tree, file: str, names: Sequence[str], train: Sequence[str]) -> dict[str, str]:
    """Kaggle's table: `ILSVRC2012_val_00000001,n02086079 LEFT TOP RIGHT BOTTOM ...`."""
    rows = csv.reader(_lines(tree, file))
    said = {row[0]: row[1].split()[0] for row in rows if len(row) == 2 and is_synset(row[1][:9])}
    return _picked(said, names)


def _by_line(tree: Tree, file: str, names: Sequence[str], train: Sequence[str]) -> dict[str, str]:
    """`NAME SYNSET` or `NAME INDEX` a line, as Caffe's val.txt."""
    said, lines = {}, _words(tree, file)
    if _are_running([parts[1] for parts in lines]):
        raise DataError(
            f"{tree.label(file)}: its numbers 1 to {len(lines)} count the lines, not the synsets; {_REMEDY}"
        )
    for parts in lines:
        if parts[1].isdigit():
            if int(parts[1]) >= len(train):
                raise DataError(
                    f"{tree.label(file)}: index {parts[1]}, but train has {len(train)} synsets to count; {_REMEDY}"
                )
            parts[1] = train[int(parts[1])]
        if is_synset(parts[1]):
            said[parts[0]] = parts[1]
    return _picked(said, names)


def _words(tree: Tree, file: str) -> list[list[str]]:
    """The words of each line that has two or more, parted by blanks or commas."""
    lines = (line.replace(",", " ").split() for line in _lines(tree, file))
    return [words for words in lines if len(words) >= 2]


def _by_order(tree: Tree, file: str, names: Sequence[str], train: Sequence[str]) -> dict[str, str]:
    """One synset a line, in the order of the pictures' numbers."""
    return _in_order(tree, file, names, [line.strip() for line in _lines(tree, file) if is_synset(line.strip())])


def _by_devkit(tree: Tree, file: str, names: Sequence[str], train: Sequence[str]) -> dict[str, str]:
    """The development kit's numbers, which its meta.mat explains."""
    return _in_order(tree, file, names, read_devkit(tree, file))


def _in_order(tree: Tree, file: str, names: Sequence[str], synsets: Sequence[str]) -> dict[str, str]:
    """The synset of the picture number N, from 1, stands at line N; some pictures may be missing."""
    found = {}
    for name in names:
        digits = re.search(r"(\d+)\.[^.]*$", name)
        number = int(digits[1]) if digits else 0
        if not 1 <= number <= len(synsets):
            raise DataError(f"{tree.label(file)}: has {len(synsets)} lines and none for {name}; {_REMEDY}")
        found[name] = synsets[number - 1]
    return found


def _picked(said: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    """By picture, what was said under its file name, with or without suffix and folder."""
    by_stem = {name.rpartition("/")[2].partition(".")[0]: synset for name, synset in said.items()}
    stems = {name: name.rpartition("/")[2].partition(".")[0] for name in names}
    return {name: by_stem[stem] for name, stem in stems.items() if stem in by_stem}


_Mapping = Callable[[Tree, str, Sequence[str], Sequence[str]], dict[str, str]]
_MAPPINGS: tuple[tuple[str, _Mapping], ...] = (
    ("LOC_val_solution.csv", _by_solution),
    (_IN_ORDER, _by_order),
    (DEVKIT_TRUTH, _by_devkit),
    ("val.txt", _by_line),
    ("val_map.txt", _by_line),
    ("val_labels.txt", _by_line),
    ("val_label.txt", _by_line),
)
"""How a file's name ends, and who reads it; in this order."""
