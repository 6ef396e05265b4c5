"""Finding the compiled part of the engine, and choosing the instruction set that it uses."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from hswish.spec.errors import MissingPackageError, OptionError, unknown_name

LEVEL_VARIABLE = "HSWISH_NATIVE_LEVEL"
"""environment variable that names an instruction set below the processor's best, for tests"""


class NativeAbsentError(MissingPackageError):
    """This install has no compiled engine: it was made where there was no C++ compiler."""

    def __init__(self, purpose: str) -> None:
        super().__init__("hswish.runtime.native._engine", "train", purpose)
        self.args = (
            f"{purpose} needs the native engine, which this install was made without: reinstall hswish where "
            "g++ or clang++ is, or run in torch: pip install 'hswish[train]'",
        )

    def __reduce__(self) -> tuple[type[NativeAbsentError], tuple[str]]:  # type: ignore[override]
        return type(self), (self.purpose,)


def library(purpose: str) -> ModuleType:
    """The compiled module.

    Args:
        purpose: what it is needed for, to be said in the error.

    Raises:
        NativeAbsentError: there is none in this install.
    """
    try:
        return importlib.import_module("hswish.runtime.native._engine")
    except ImportError as error:
        raise NativeAbsentError(purpose) from error


def is_present() -> bool:
    """Whether this install has the compiled engine."""
    try:
        library("")
    except NativeAbsentError:
        return False
    return True


def has_vnni() -> bool:
    """Whether this processor adds products of bytes by one instruction in 32 bits, or is not of x86.

    x86 processors without VNNI add pairs of them in 16 bits, which overflow where weights have 8 bits: ONNX Runtime
    and OpenVINO do so. Without the compiled module nothing is known, and the answer is yes.
    """
    try:
        levels: dict[str, bool] = dict(library("").levels())
    except NativeAbsentError:
        return True
    return "avx2" not in levels or any(levels.get(name, False) for name in ("avxvnni", "avx512vnni"))


def choose_level(engine: ModuleType) -> str:
    """The widest instruction set that this processor runs, or the one that `HSWISH_NATIVE_LEVEL` names.

    Raises:
        OptionError: no kernels for that instruction set, or the processor cannot run it.
    """
    levels: dict[str, bool] = dict(engine.levels())
    asked = os.environ.get(LEVEL_VARIABLE)
    if not asked:
        return [name for name, runs_here in levels.items() if runs_here][-1]
    if asked not in levels:
        raise unknown_name(f"instruction set in {LEVEL_VARIABLE}", asked, levels)
    if not levels[asked]:
        able = ", ".join(name for name, runs_here in levels.items() if runs_here)
        raise OptionError(f"{LEVEL_VARIABLE}: this processor cannot run {asked}; it runs {able}")
    return asked
