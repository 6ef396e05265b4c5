"""The compiled part, the instruction sets that this processor runs, and networks to compile."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hswish.models import DescribedModule, create_model, save
from hswish.runtime.native import NativeAbsentError
from hswish.runtime.native.library import LEVEL_VARIABLE, library
from tests.models.conftest import lived_in, one_thread  # noqa: F401 - a fixture

try:
    ENGINE: ModuleType | None = library("a test")
    LEVELS = [name for name, runs_here in ENGINE.levels() if runs_here]
except NativeAbsentError:  # an install without a compiler
    ENGINE, LEVELS = None, ["absent"]
BF16_LEVELS = [name for name in LEVELS if ENGINE is not None and ENGINE.multiplies_halves(name)]
"""those of them that multiply bfloat16"""


def with_own(kernels_of: Callable[[ModuleType, str], str]) -> list[str]:
    """Instruction sets that share the kernels of that name with none before them."""
    if ENGINE is None:
        return LEVELS
    first: dict[str, str] = {}
    for name in LEVELS:
        first.setdefault(kernels_of(ENGINE, name), name)
    return list(first.values())


FLOAT_LEVELS = with_own(lambda engine, level: str(engine.kernel_lists(level)[0]))
INT8_LEVELS = with_own(lambda engine, level: str(engine.kernel_lists(level)[1]))
TRAINING_LEVELS = with_own(lambda engine, level: str(engine.TrainingKernels(level, 1).name))

Build = Callable[..., tuple[DescribedModule, Path]]


@pytest.fixture(scope="session")
def engine() -> ModuleType:
    """`hswish.runtime.native._engine`."""
    if ENGINE is None:
        pytest.skip("this install has no compiled engine: there was no C++ compiler")
    return ENGINE


@pytest.fixture(params=FLOAT_LEVELS)
def level(request: pytest.FixtureRequest, engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set with kernels of its own for floats that runs here, forced by the environment variable."""
    monkeypatch.setenv(LEVEL_VARIABLE, request.param)
    return str(request.param)


@pytest.fixture(params=INT8_LEVELS)
def int8_level(request: pytest.FixtureRequest, engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same for bytes."""
    monkeypatch.setenv(LEVEL_VARIABLE, request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """`build(name, **options)`: a network as after training, in evaluation mode, and its file."""
    made: dict[str, tuple[DescribedModule, Path]] = {}

    def network(name: str, **options: Any) -> tuple[DescribedModule, Path]:
        key = f"{name} {sorted(options.items())}"
        if key not in made:
            model = lived_in(create_model(name, **options))
            assert isinstance(model, DescribedModule)
            path = tmp_path_factory.mktemp("models") / "model.safetensors"
            save(model, path)
            made[key] = model, path
        return made[key]

    return network


def kernels_in(*structures: str) -> list[str]:
    """Names of the kernels that structures of `native/kernels.h` list."""
    header = (Path(__file__).parents[3] / "native" / "kernels.h").read_text(encoding="utf-8")
    names: list[str] = []
    for structure in structures:
        (body,) = re.findall(rf"^struct {structure} .*?^}};", header, re.MULTILINE | re.DOTALL)
        names += re.findall(r"\(\*(\w+)\)", body)
    return names


def unaligned(values: np.ndarray, offset: int) -> np.ndarray:
    """A copy that begins `offset` elements after a boundary of 64 bytes."""
    room = np.zeros(values.size + 64, values.dtype)
    start = (-room.ctypes.data % 64) // values.itemsize + offset
    copy = room[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy
