"""From whatever a user calls a model to its file on this machine."""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from hswish.hub import huggingface
from hswish.hub.cache import cache_folder
from hswish.hub.checksum import Checksum
from hswish.hub.converted import ready
from hswish.hub.download import download, shown
from hswish.hub.progress import Progress, on_terminal
from hswish.hub.weights import WEIGHTS, PublishedWeights, find
from hswish.hub.zoo import find_own
from hswish.spec.addresses import is_web_address
from hswish.spec.architecture import MODEL_NAMES
from hswish.spec.errors import OptionError, unknown_name

_MODEL_SUFFIXES = (".safetensors", ".onnx", ".tflite", ".pte", ".xml", ".mlpackage", ".param", ".pth", ".pt", ".h5")
"""of names that are meant as files"""


def locate(model: str | os.PathLike[str], progress: Progress | None = on_terminal) -> Path:
    """The file of a model: fetched, verified and converted where that is still to do.

    Args:
        model: a path; `hf://OWNER/NAME[/FILE][@REVISION]`; `https://HOST/FILE[#sha256=DIGITS]`;
            or a name that `hswish models` lists. A file that exists is always that file, and a
            `Path` is never anything else; whether it is a model shows when it is opened.
        progress: called while bytes arrive.

    Raises:
        DownloadError: it cannot be fetched, or is not what was published.
        OptionError: a name that nothing was published under; the nearest are offered.
        ModelFileError, SaveError, MissingPackageError: see `ready`, `download`, `huggingface.fetch`.
    """
    text = os.fspath(model)
    if not isinstance(model, str) or (os.path.lexists(text) and not Path(text).is_dir()):
        return Path(text)
    if text.startswith(huggingface.SCHEME):
        found = huggingface.fetch(text, progress)
        return ready(found, progress) if isinstance(found, PublishedWeights) else found
    if is_web_address(text):
        return _from_web(text, progress)
    if (row := find(text)) is not None:
        return ready(row, progress)
    if (own := find_own(text)) is not None:
        return own
    if not Path(text).is_dir():
        _refuse_near_names(text)
    return Path(text)


def _from_web(url: str, progress: Progress | None) -> Path:
    address, _, pin = url.partition("#")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:  # brackets that do not close, a port that is no number
        raise OptionError(f"{url[:120]!r} is no address ({error}); write https://HOST/FILE") from error
    if not host:
        raise OptionError(f"{url[:120]!r} names no host; write https://HOST/FILE")
    name = PurePosixPath(parts.path).name
    if name in ("", ".."):
        raise OptionError(f"{shown(address)}: names no file; give the address of a .safetensors file")
    folder = hashlib.sha256(address.encode()).hexdigest()[:12]  # two hosts may call theirs the same
    return download(
        address,
        cache_folder("downloads", folder) / name,
        checksum=Checksum.parse(pin) if pin else None,
        progress=progress,
    )


def _refuse_near_names(text: str) -> None:
    """What is meant as a published name and is none, told from a path to a file that is not there."""
    names = [row.name for row in WEIGHTS]
    if "/" in text or PurePosixPath(text).suffix.lower() in _MODEL_SUFFIXES:
        return
    architecture, _, tag = text.partition(".")
    if architecture in MODEL_NAMES and not tag:
        trained = ", ".join(name for name in names if name.startswith(f"{architecture}.")) or "none"
        raise OptionError(f"{text} is an architecture, not a trained model; published are: {trained}")
    if architecture in MODEL_NAMES or difflib.get_close_matches(text, names, n=1, cutoff=0.8):
        raise unknown_name("model", text, names)
