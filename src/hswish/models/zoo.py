"""Published weights by name: the table is `hswish.hub.weights`, the conversion is here, for it takes torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hswish.hub.weights import PublishedWeights
from hswish.models.adapters import convert
from hswish.models.checkpoint import save
from hswish.spec.errors import ModelFileError, OptionError


def convert_published(row: PublishedWeights, file: Path, target: Path) -> None:
    """Write the published `file` as a `.safetensors` file of ours, with what its publisher says about it.

    Registered as entry point `torch` of the group `hswish.zoo`, where `hswish.hub` finds it.

    Raises:
        ModelFileError: the file is not the network that the table says.
        MissingPackageError: reading it takes a package that is not installed.
        SaveError: the cache is not writable, or full.
    """
    assert row.source is not None
    try:
        model = convert(row.source, file)
    except (ModelFileError, OptionError) as error:
        raise ModelFileError(f"{row.name}, from {row.url}: {error}") from error
    about: dict[str, Any] = {"provenance": {**model.description.provenance, **row.provenance()}}
    if row.preprocess is not None:
        about["preprocess"] = row.preprocess
    if row.metrics:
        about["metrics"] = {"val": row.metrics}
    model.describe(**about)
    save(model, target)
