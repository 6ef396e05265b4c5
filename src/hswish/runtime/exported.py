"""The base of every engine that runs an exported file: one method to open it, one to run a batch.

What the engines have in common stands here: pictures are checked against the file's own
interface, and a file made for one picture at a time gets them one at a time.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hswish.spec.artifact import Description
from hswish.spec.errors import MissingPackageError, ModelFileError, OptionError
from hswish.spec.interface import Interface

_PACKAGES = {"google": "protobuf", "ruamel": "ruamel.yaml", "yaml": "pyyaml"}
"""What is installed for a module that is called otherwise."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One kind of step that a runtime takes, as the runtime itself names it."""

    kind: str
    dtype: str
    """type it computes in"""
    count: int
    accelerated: bool | None
    """whether it runs in the runtime's fast kernels; None where the runtime does not tell"""


class LacksOperatorError(ModelFileError):
    """A file that is whole, but has an operator that the installed runtime lacks."""


class ExportedEngine(ABC):
    """Runs one exported file; a subclass knows one runtime."""

    name: ClassVar[str]
    """as users ask for it"""
    suffixes: tuple[str, ...]
    lends: ClassVar[bool] = False
    """what `_infer` gives is the runtime's own memory, which the next call overwrites"""

    def __init__(self, path: Path, description: Description, interface: Interface) -> None:
        self.path, self.description, self.interface = path, description, interface
        # Asked for once, not in every call: to build an architecture takes a tenth of a millisecond.
        self._channels = description.architecture().options.in_channels

    @classmethod
    @abstractmethod
    def open(cls, path: Path, threads: int | None = None) -> ExportedEngine:
        """Open a model file; `threads` are processor threads, as many as the runtime likes by default.

        Raises:
            ModelFileError: the file is no model this engine can run.
            MissingPackageError: the runtime is not installed.
        """

    @abstractmethod
    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The answer to a batch that fits the interface; one picture where the size is fixed."""

    def operators(self) -> tuple[Operator, ...]:
        """What the runtime makes of the model, by kind and type; empty where it does not tell."""
        return ()

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The file's answer to a batch, as its interface says: logits float32, or masks uint8.

        Raises:
            OptionError: pictures of another size or type than the file takes.
            ModelFileError: the runtime fails.
        """
        return self._answer(batch, kept=True)

    def run_lent(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `LendingEngine.run_lent`."""
        return self._answer(batch, kept=False)

    def _answer(self, batch: NDArray[Any], kept: bool) -> NDArray[Any]:
        self._check(batch)
        batch = np.ascontiguousarray(batch)
        parts = [batch] if self.interface.size is None else [batch[index : index + 1] for index in range(len(batch))]
        # A mask stays with its result; and of several answers each would overwrite the one before.
        copied = self.lends and (kept or len(parts) > 1 or self.interface.gives == "mask")
        try:
            answers = [np.array(self._infer(part), copy=True if copied else None) for part in parts]
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{self.path}: {self.name} cannot run it ({reason}); export it again") from error
        answer = answers[0] if len(answers) == 1 else np.concatenate(answers)
        return answer.astype(np.uint8 if self.interface.gives == "mask" else np.float32, copy=False)

    def _check(self, batch: NDArray[Any]) -> None:
        pixels = self.interface.takes == "pixels"
        channels = 3 if pixels else self._channels
        form, kind = ("(N, H, W, 3)", np.uint8) if pixels else (f"(N, {channels}, H, W)", np.float32)
        if batch.ndim != 4 or batch.dtype != kind or batch.shape[3 if pixels else 1] != channels or not batch.size:
            given = f"{batch.dtype} {tuple(batch.shape)}"
            raise OptionError(f"{self.path}: takes {np.dtype(kind)} pictures {form}, not {given}")
        size = batch.shape[1:3] if pixels else batch.shape[2:]
        if self.interface.size is not None and size != self.interface.size:
            height, width = self.interface.size
            raise OptionError(
                f"{self.path}: takes pictures of {height}x{width} pixels only, not {size[0]}x{size[1]}; "
                f"export it with --dynamic or --size {size[0]}x{size[1]}"
            )


def refused(path: Path, package: str, error: Exception, lacks: str, otherwise: str) -> ModelFileError:
    """The error for a file that a runtime does not open: for want of an operator, or because it is damaged.

    Raise it from `error`: an export, whose file is not damaged, tells that one's words instead.

    Args:
        package: what is installed of the runtime.
        lacks: pattern of the runtime's own words for an operator that it does not have, whose name is a group.
        otherwise: what else is wrong with the file, and what to do.
    """
    found = re.search(lacks, str(error))
    if found is None:
        return ModelFileError(f"{path}: {otherwise}")
    name = next((group for group in found.groups() if group), None)
    operator = f"the operator {name}, which" if name else "an operator that"
    return LacksOperatorError(
        f"{path}: needs {operator} the installed {package} lacks; pip install --upgrade {package}"
    )


def not_importable(error: ImportError, package: str, extra: str, purpose: str) -> MissingPackageError:
    """The error for a runtime that cannot be imported: names what is really absent, itself or what it needs in turn.

    Args:
        package: what is installed of the runtime.
        extra: of hswish, which brings the runtime and all that it needs.
    """
    absent, reason, cause = "", str(error), error
    while cause is not None:  # a runtime may say that it is damaged where only something below it is missing
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            absent = cause.name.partition(".")[0]
        reason = str(cause)
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    if not absent:
        absent = f"{package} (which is here, but does not load: {' '.join(reason.split())[:100]})"
    elif absent == package.replace("-", "_"):
        absent = package
    return MissingPackageError(_PACKAGES.get(absent, absent), extra, purpose)


def count_operators(steps: list[tuple[str, str, bool | None]]) -> tuple[Operator, ...]:
    """(kind, type, accelerated) of each step to one line a kind, most frequent first."""
    return tuple(
        Operator(kind=kind, dtype=dtype, count=count, accelerated=accelerated)
        for (kind, dtype, accelerated), count in Counter(steps).most_common()
    )
