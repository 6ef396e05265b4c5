"""Published weights as files of ours: fetched, converted once, and kept.

Who converts is found by entry point (group `hswish.zoo` in `pyproject.toml`), for that takes
torch, which a machine that only predicts from the cache need not have.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from hswish import __version__
from hswish.hub import huggingface
from hswish.hub.cache import cache_folder, locked
from hswish.hub.checksum import Checksum
from hswish.hub.download import download
from hswish.hub.progress import Progress, on_terminal
from hswish.hub.weights import PublishedWeights
from hswish.spec.errors import MissingPackageError, ModelFileError

_GROUP = "hswish.zoo"


def ready(row: PublishedWeights, progress: Progress | None = on_terminal) -> Path:
    """The `.safetensors` file of hswish's that holds these weights.

    Raises:
        DownloadError: it cannot be fetched, or is not what was published.
        ModelFileError: it is not the network that it should be.
        MissingPackageError: torch, which converts it, is not installed.
    """
    if row.source is None:
        return fetch(row, progress)
    target = cache_folder("converted", __version__) / f"{row.name}.{row.fingerprint}.safetensors"
    if not target.exists():
        file = fetch(row, progress)
        with locked(target):
            if not target.exists():
                _convert(row, file, target)
    return target


def fetch(row: PublishedWeights, progress: Progress | None = on_terminal) -> Path:
    """The published file as it is, verified.

    Raises:
        DownloadError: it cannot be fetched, or is not what was published.
    """
    if row.url.startswith(huggingface.SCHEME):
        return huggingface.fetch_file(row.url, progress)
    target = cache_folder("downloads", row.library) / Path(urlsplit(row.url).path).name
    return download(row.url, target, checksum=Checksum.parse(row.checksum) if row.checksum else None, progress=progress)


def _convert(row: PublishedWeights, file: Path, target: Path) -> None:
    entries = tuple(entry_points(group=_GROUP, name="torch"))
    if not entries:
        raise ModelFileError(f"{row.name}: this installation of hswish cannot convert it; install hswish again")
    try:
        convert = entries[0].load()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("hswish"):  # a slip of ours, not a package to install
            raise
        raise MissingPackageError(str(error.name), "train", f"converting {row.name}") from error
    convert(row, file, target)
