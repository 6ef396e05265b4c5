"""What an engine is: something that runs one model file, whatever made it run.

An engine is found by entry point (group `hswish.engines` in `pyproject.toml`), so this
floor needs to know neither torch nor any exporter, and another package can add its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from hswish.hub import locate
from hswish.spec.artifact import CONVERT, Description
from hswish.spec.errors import HswishError, MissingPackageError, ModelFileError, OptionError, unknown_name
from hswish.spec.interface import Interface

_GROUP = "hswish.engines"
_EXTRAS = {"torch": "train", "onnxruntime": "onnx"}
"""The extra that installs an engine's package, where it is not named after the engine."""
_OWN = {
    ".safetensors": ("native", "torch"),
    ".int8.safetensors": ("native",),
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".tflite": ("litert",),
    ".pte": ("executorch",),
    ".param": ("ncnn",),
}
"""Our engines by the ending they open, the fastest first: none is loaded in vain."""
_OURS = {name for names in _OWN.values() for name in names}

MOST_THREADS = 256
_LOCKS: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


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

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Logits of a normalised batch (N, C, H, W): (N, K), or (N, K, H, W) for masks.

        An engine with an attribute `interface` (`hswish.spec.interface`) takes and gives what that says.
        """


@runtime_checkable
class LendingEngine(Protocol):
    """An engine that can answer without copying its answer: logits of a street are megabytes."""

    def run_lent(self, batch: NDArray[Any]) -> NDArray[Any]:
        """As `Engine.run`, but the logits may lie in the runtime's own memory: they are right until its next call."""


@runtime_checkable
class PictureEngine(Protocol):
    """An engine that also takes resized pictures as they are, and makes masks as well as logits."""

    @property
    def takes_pictures(self) -> bool:
        """Whether it does so for this model."""

    def run_pictures(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `run`, of (N, H, W, C) pictures before `normalise`, their channels `ordered`."""

    def run_masks(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The most likely class of each pixel, (N, H, W), of such pictures."""


def open_engine(
    path: str | Path, engine: str | None = None, threads: int | None = None, precision: str | None = None
) -> Engine:
    """Open `path` with the engine asked for, or the first one that knows its ending.

    Args:
        path: a model file; also a published name, `hf://OWNER/NAME[@REVISION]` or `https://...`.
        precision: what to compute in, of an engine that has a choice (its `precisions`); by default what the file says.

    Raises:
        DownloadError: it cannot be fetched, or is not what was published.
        ModelFileError: no such file, or no engine for it.
        MissingPackageError: the engine's package is not installed.
        OptionError: no engine of that name, or one for other files, or none with that precision, or a number of
            threads that no machine has.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise OptionError(f"threads must be 1 to {MOST_THREADS}, not {threads}")
    found = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if engine is not None and engine not in found:
        raise unknown_name("engine", engine, found)
    path = locate(path)
    _check_place(path)
    if engine is not None and engine in _OURS:  # before it is loaded: torch takes seconds
        _check_ending(path, engine, [ending for ending, names in _OWN.items() if engine in names], found)
    missing: HswishError | None = None
    for name in [engine] if engine else _candidates(path, found):
        try:
            kind: type[Engine] = found[name].load()
            if engine is not None:
                _check_ending(path, engine, kind.suffixes, found)
            if engine is not None or _ending(path) in kind.suffixes or not path.suffix:
                return _opened(kind, path, threads, precision)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("hswish"):  # a slip of ours, not a package to install
                raise
            package = MissingPackageError(str(error.name), _EXTRAS.get(name, name), f"opening {path}")
            if engine is not None:
                raise package from error
            missing = missing or package  # another engine may still know the ending
        except (MissingPackageError, _NoChoiceError) as error:
            if engine is not None:
                raise
            missing = missing or error
    if missing is not None:
        raise missing
    raise _unknown_ending(path)


class _NoChoiceError(OptionError):
    """A precision was asked of an engine that has no choice; another may have."""


def _opened(kind: type[Engine], path: Path, threads: int | None, precision: str | None) -> Engine:
    if precision is None:
        return kind.open(path, threads)
    choice: tuple[str, ...] = getattr(kind, "precisions", ())
    if not choice:
        raise _NoChoiceError(
            f"{path}: {kind.__name__} computes in what the file says; a choice of precision has the native engine, "
            "for .safetensors files of floats"
        )
    if precision not in choice:
        raise unknown_name("precision", precision, choice)
    return kind.open(path, threads, precision=precision)  # type: ignore[call-arg] # which has `precisions`


def engine_names() -> list[str]:
    """Every engine that is registered here, whether its package is installed or not."""
    return sorted(entry.name for entry in entry_points(group=_GROUP))


def lock_of(engine: Engine) -> threading.Lock:
    """The lock of an engine, which is held while it runs: an engine need not bear two calls at once."""
    with _LOCKS_LOCK:
        try:
            return _LOCKS.setdefault(engine, threading.Lock())
        except TypeError:  # nothing that can be looked up, or referred to weakly
            return threading.Lock()


def interface_of(engine: Engine) -> Interface:
    """What an engine takes and gives; one that does not say takes normalised pictures and gives logits."""
    found = getattr(engine, "interface", None)
    return found if isinstance(found, Interface) else Interface()


def run_lent(engine: Engine, batch: NDArray[Any]) -> NDArray[Any]:
    """As `Engine.run`, for an answer that is done with before the engine is called again; not copied in vain."""
    return engine.run_lent(batch) if isinstance(engine, LendingEngine) else engine.run(batch)


def engines_for(path: str | Path) -> list[str]:
    """Names of the installed engines that may open a file, by its ending; the fastest first.

    Raises:
        ModelFileError: no such file, or no engine for its ending.
    """
    path = locate(path)
    _check_place(path)
    found = _candidates(path, [entry.name for entry in entry_points(group=_GROUP)])
    if not found:
        raise _unknown_ending(path)
    return found


def companions(path: str | Path) -> list[Path]:
    """The files that make up a model: the one named, and those of its format that lie beside it."""
    path = Path(path)
    beside = {".xml": (".bin",), ".param": (".bin", ".json")}.get(path.suffix.lower(), ())
    return [path, *(file for file in map(path.with_suffix, beside) if file.is_file())]


def _unknown_ending(path: Path) -> ModelFileError:
    exported = ", ".join(suffix for suffix in _OWN if not suffix.endswith(".safetensors"))
    return ModelFileError(
        f"{path}: no engine here opens {path.suffix} files; a .safetensors model or an exported one ({exported}) "
        f"is expected; another library's network becomes one with: {CONVERT}"
    )


def _check_ending(path: Path, engine: str, endings: Sequence[str], found: Iterable[str]) -> None:
    """Refuse a file whose ending is another engine's: the one asked for would call it damaged.

    Raises:
        OptionError: as said.
    """
    ending = _ending(path)
    if not endings or ending in endings or not (others := [name for name in _OWN.get(ending, ()) if name in found]):
        return
    raise OptionError(
        f"{path}: the {engine} engine runs {' and '.join(endings)} files, not {ending}; "
        f"leave the engine out, or make it {' or '.join(others)}"
    )


def _candidates(path: Path, found: Iterable[str]) -> list[str]:
    """Names of the engines that may open `path`: ours for its ending, then those of other packages."""
    known = _OWN.get(_ending(path) or ".safetensors", ())
    return [*(name for name in known if name in found), *(name for name in sorted(found) if name not in _OURS)]


def _ending(path: Path) -> str:
    """The longest ending of ours that a file has, or its last."""
    name = path.name.lower()
    return next((suffix for suffix in (".int8.safetensors",) if name.endswith(suffix)), path.suffix.lower())


def _check_place(path: Path) -> None:
    if not path.exists():
        raise ModelFileError(f"{path}: no such model file")
    if path.suffix.lower() == ".mlpackage":
        raise ModelFileError(f"{path}: a Core ML package runs on Apple's systems only; use another format here")
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; name the model file in it")
    if path.suffix.lower() == ".bin":
        raise ModelFileError(f"{path}: holds the weights alone; name the .xml or .param file beside it")
