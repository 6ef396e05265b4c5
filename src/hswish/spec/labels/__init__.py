"""Class names of public data sets, in the order in which networks trained on them answer.

One text file a set, one name a line; line N is output N.

| set | names | source |
|---|--:|---|
| `imagenet1k` | 1000 | ILSVRC 2012: first word of each synset in WordNet, in order of synset number |
| `voc21` | 21 | Pascal VOC 2012, background first |
| `cityscapes19` | 19 | Cityscapes, the classes that are evaluated, by train id |

Two cranes and two maillots of ImageNet have a second word, so that every name is one class.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from hswish.spec.errors import OptionError, unknown_name

LABEL_SETS = ("imagenet1k", "voc21", "cityscapes19")


@cache
def load_labels(name: str) -> tuple[str, ...]:
    """The names of one of `LABEL_SETS`, in output order.

    Raises:
        OptionError: there is no such set; the nearest are offered.
    """
    if name not in LABEL_SETS:
        raise unknown_name("label set", name, LABEL_SETS)
    text = files("hswish.spec.labels").joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The names in a text file, one a line, in output order.

    Raises:
        OptionError: the file cannot be read, has no names, a blank line among them, or one name twice.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OptionError(f"{path}: not a regular file")  # reading a pipe would wait for ever
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: not UTF-8 text; save it as such, one class name a line") from error
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names:
        raise OptionError(f"{path}: no class names in it; write one a line")
    if "" in names:
        raise OptionError(f"{path}: line {names.index('') + 1} is blank and would shift the names below; remove it")
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise OptionError(f"{path}: {twice!r:.80} stands in it twice; every class needs a name of its own")
    return names
