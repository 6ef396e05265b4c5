"""The data that a model is measured on: with the split it was trained with, where hswish made that split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hswish.cli.console import print_note, print_warning
from hswish.spec.errors import HswishError

if TYPE_CHECKING:
    from hswish.data import DataSource
    from hswish.spec.artifact import Description


def open_as_trained(data: str, model: Path, description: Description, quiet: bool = False) -> DataSource:
    """Open a data set for the model in a file; what hswish held out in it is said, unless `quiet`.

    Raises:
        DataError: see `hswish.data.open_data`.
    """
    from hswish.data import open_data

    # The model's own seed gives the split it was trained with.
    source = open_data(data, task=description.task, seed=_seed(description.provenance))
    source = _as_recorded(source, model.parent / "splits.json", description.provenance)
    if source.made_splits and not quiet:
        print_note(f"{source.name}: {source.made_splits}")
    return source


def _seed(provenance: dict[str, Any]) -> int:
    """The seed in a model file, which may hold anything there."""
    seed = provenance.get("seed")
    return seed if isinstance(seed, int) and 0 <= seed < 2**32 else 0


def _as_recorded(source: DataSource, record: Path, provenance: dict[str, Any]) -> DataSource:
    """The split recorded beside the model, where hswish made one: pictures added since must not move others."""
    if not source.made_splits or provenance.get("data") != source.name or not record.is_file():
        return source
    try:
        return source.with_splits(json.loads(record.read_text(encoding="utf-8")))
    except (HswishError, OSError, ValueError, TypeError, AttributeError) as error:
        print_warning(f"{record}: not used, the split is made again ({error})")
        return source
