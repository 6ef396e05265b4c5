"""What an engine is: something that runs one model file, whatever made it run.

An engine is found by entry point (group `hswish.engines` in `pyproject.toml`), so this
floor needs to know neither torch nor any exporter, and another package can add its own.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hswish.hub import locate
from hswish.spec.artifact import CONVERT, Description
from hswish.spec.errors import MissingPackageError, ModelFileError, unknown_name

_GROUP = "hswish.engines"
_EXTRAS = {"torch": "train"}
"""The extra that installs an engine's package, where it is not named after the engine."""


class Engine(Protocol):
    """Runs one model."""

    suffixes: tuple[str, ...]
    """endings of the files it opens, such as `.safetensors`"""

    @property
    def description(self) -> Description:
        """What the model file says about itself."""

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> Engine:
        """Open a model file.

        Raises:
            ModelFileError: the file is no model this engine can run.
        """

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a normalised batch (N, C, H, W): (N, K), or (N, K, H, W) for masks."""


def open_engine(path: str | Path, engine: str | None = None, threads: int | None = None) -> Engine:
    """Open `path` with the engine asked for, or the first one that knows its ending.

    Args:
        path: a model file; also a published name, `hf://OWNER/NAME[@REVISION]` or `https://...`.

    Raises:
        DownloadError: it cannot be fetched, or is not what was published.
        ModelFileError: no such file, or no engine for it.
        MissingPackageError: the engine's package is not installed.
        OptionError: no engine of that name.
    """
    found = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if engine is not None and engine not in found:
        raise unknown_name("engine", engine, found)
    path = locate(path)
    if not path.exists():
        raise ModelFileError(f"{path}: no such model file")
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; name the model file in it")
    missing: MissingPackageError | None = None
    for name in [engine] if engine else sorted(found):
        try:
            kind: type[Engine] = found[name].load()
        except ModuleNotFoundError as error:
            if str(error.name).startswith("hswish"):  # a slip of ours, not a package to install
                raise
            package = MissingPackageError(str(error.name), _EXTRAS.get(name, name), f"opening {path}")
            if engine is not None:
                raise package from error
            missing = missing or package  # another engine may still know the ending
            continue
        if engine is not None or path.suffix.lower() in kind.suffixes or not path.suffix:
            return kind.open(path, threads)
    if missing is not None:
        raise missing
    raise ModelFileError(
        f"{path}: no engine here opens {path.suffix} files; a .safetensors model is expected, "
        f"which another library's network becomes with: {CONVERT}"
    )
