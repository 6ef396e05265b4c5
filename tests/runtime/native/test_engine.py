"""The native engine's answers are the network's: every model, head and option, on every instruction set."""

from __future__ import annotations

import copy
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hswish.models import DescribedModule, save
from hswish.models.engine import TorchEngine
from hswish.runtime import open_engine
from hswish.runtime.native import NativeEngine
from hswish.runtime.native import engine as engine_module
from hswish.runtime.native.library import LEVEL_VARIABLE
from hswish.spec.architecture import HEADS, MODEL_NAMES
from hswish.spec.errors import ModelFileError, OptionError
from tests.runtime.native.conftest import Build

NARROW: dict[str, Any] = {"width_mult": 0.35, "num_classes": 7}

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MODEL_NAMES),
    *(("lraspp_mobilenet_v3_small", {"head": head}) for head in HEADS),
    ("lraspp_mobilenet_v3_large", {"head": "official", "output_stride": 32, **NARROW}),
    ("lraspp_mobilenet_v3_large", {"head": "fastseg", "head_channels": 10, "num_classes": 5, "width_mult": 0.35}),
    ("lraspp_mobilenet_v3_large", {"output_stride": 8, **NARROW}),
    ("lraspp_mobilenet_v3_small", {"head": "raspp", "head_channels": 12, "num_classes": 2}),
    ("mobilenet_v3_small", {"block_rule": "se_before_activation", **NARROW}),
    ("mobilenet_v3_small", {"block_rule": "timm_rw", **NARROW}),
    ("lraspp_mobilenet_v3_small", {"block_rule": "se_before_activation", **NARROW}),
    ("mobilenet_v3_large", {"padding": "same", "block_rule": "timm_rw", **NARROW}),
    ("mobilenet_v3_small", {"padding": "same", "in_channels": 1}),
    ("mobilenet_v3_small", {"keep_size": 2}),
    ("mobilenet_v3_small", {"keep_size": 5, "output_stride": 8, **NARROW}),
    ("mobilenet_v3_large", {"output_stride": 16, "atrous_rule": "torchvision", **NARROW}),
    ("mobilenet_v3_small", {"in_channels": 70, **NARROW}),
    ("mobilenet_v3_large", {"depth_mult": 1.2, **NARROW}),
    ("mobilenet_v3_small", {"depth_mult": 2.0}),
    ("mobilenet_v3_small", {"width_rule": "keras", "width_mult": 0.5}),
    ("mobilenet_v3_small", {"width_rule": "torchvision", "width_mult": 1.5, "num_classes": 1}),
    ("mobilenet_v3_small", {"width_mult": 0.1, "head_channels": 9, "num_classes": 3}),
]


def truth(model: DescribedModule, x: np.ndarray) -> np.ndarray:
    """The network's answer, computed in float64."""
    with torch.no_grad():
        return copy.deepcopy(model).double()(torch.from_numpy(x).double()).numpy()


def pictures(model: DescribedModule, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    channels = model.architecture.options.in_channels
    return np.random.default_rng(seed).normal(size=(count, channels, height, width)).astype(np.float32)


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error < 3e-5, f"{error:.1e} of the largest"  # float32 torch is up to 1e-5 off


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))
def test_answers_are_the_networks(name: str, options: dict[str, Any], level: str, build: Build) -> None:
    model, path = build(name, **options)
    for threads, count, height, width in ((1, 2, 64, 64), (3, 1, 75, 53)):
        engine = NativeEngine(path, threads)
        assert engine.level == level
        x = pictures(model, count, height, width)
        same(engine.run(x), truth(model, x))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2), (31, 65), (224, 224), (97, 259)])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_large"])
def test_any_size(name: str, size: tuple[int, int], level: str, build: Build) -> None:
    model, path = build(name)
    x = pictures(model, 1, *size)
    same(NativeEngine(path, 2).run(x), truth(model, x))


def test_maps_and_logits_larger_than_the_caches(engine: ModuleType, build: Build) -> None:
    model, path = build("lraspp_mobilenet_v3_large")
    x = pictures(model, 1, 512, 512)
    native, wanted = NativeEngine(path, 2), truth(model, x)
    for _ in range(2):  # the second answer has the memory of the first
        same(native.run(x), wanted)


def test_batches_and_layouts(engine: ModuleType, build: Build) -> None:
    model, path = build("lraspp_mobilenet_v3_small")
    native = NativeEngine(path, 2)
    x = pictures(model, 5, 40, 56)
    every = native.run(x)
    for index in range(5):
        np.testing.assert_array_equal(native.run(x[index : index + 1])[0], every[index])
    np.testing.assert_array_equal(native.run(np.asfortranarray(x)), every)
    np.testing.assert_array_equal(native.run(x.astype(np.float64)), every)
    assert native.run(x[:0]).shape == (0, 19, 40, 56)


def test_threads_do_not_change_the_answer_by_much(engine: ModuleType, build: Build) -> None:
    model, path = build("mobilenet_v3_large")
    x = pictures(model, 1, 160, 128)
    one = NativeEngine(path, 1).run(x)
    for threads in (2, 3, 8):
        same(NativeEngine(path, threads).run(x), one)


def test_it_is_the_default_where_it_is_present(engine: ModuleType, tiny_build: tuple[DescribedModule, Path]) -> None:
    model, path = tiny_build
    opened = open_engine(path)
    assert isinstance(opened, NativeEngine)
    assert opened.description == model.description
    assert isinstance(open_engine(path, "native", threads=2), NativeEngine)
    assert isinstance(open_engine(path, "torch"), TorchEngine)


@pytest.fixture
def tiny_build(build: Build) -> tuple[DescribedModule, Path]:
    return build("mobilenet_v3_small", width_mult=0.1, head_channels=8, num_classes=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stored_in_halves(dtype: torch.dtype, engine: ModuleType, tiny_build: Any, tmp_path: Path) -> None:
    model, _ = tiny_build
    path = tmp_path / "half.safetensors"
    save(model, path, dtype=dtype)
    x = pictures(model, 1, 64, 64)
    same(NativeEngine(path).run(x), TorchEngine.open(path).run(x))


def test_few_plans_are_kept(engine: ModuleType, tiny_build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = tiny_build
    native = NativeEngine(path, 1)
    first = native.run(pictures(model, 1, 32, 32))
    for width in range(33, 60):
        native.run(pictures(model, 1, 32, width))
        assert len(native._plans) <= engine_module._MOST_SIZES
    np.testing.assert_array_equal(native.run(pictures(model, 1, 32, 32)), first)
    monkeypatch.setattr(engine_module, "_MOST_BYTES", 1)
    native.run(pictures(model, 1, 40, 40))
    assert list(native._plans) == [(40, 40)]


def test_many_threads_share_one_engine(engine: ModuleType, build: Build) -> None:
    model, path = build("lraspp_mobilenet_v3_small")
    native = NativeEngine(path, 2)
    inputs = [pictures(model, 1, 24 + 8 * (seed % 3), 40, seed) for seed in range(8)]
    wanted = [native.run(x) for x in inputs]
    wrong: list[int] = []

    def work(start: int) -> None:
        for turn in range(25):
            index = (start + turn) % len(inputs)
            if not np.array_equal(native.run(inputs[index]), wanted[index]):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(start,)) for start in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert not wrong


def test_a_forked_process_can_go_on(engine: ModuleType, tiny_build: Any) -> None:
    """Its copy of the engine has lost its threads: it must neither wait for them nor crash."""
    model, path = tiny_build
    native = NativeEngine(path, 3)
    x = pictures(model, 1, 64, 64)
    wanted = native.run(x)
    child = os.fork()
    if child == 0:
        good = np.array_equal(native.run(x), wanted)
        del native
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(native.run(x), wanted)


@pytest.mark.slow
def test_memory_stays_flat(engine: ModuleType, tiny_build: Any) -> None:
    model, path = tiny_build
    native = NativeEngine(path, 2)
    x = pictures(model, 1, 16, 16)

    def resident_kb() -> int:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    for _ in range(2000):
        native.run(x)
    before = resident_kb()
    for _ in range(100_000):
        native.run(x)
    assert resident_kb() - before < 1024
    peaks = []  # not moments: memory rises and falls, for weights share rooms of 8 MB, some 1,400 openings each
    for _ in range(2):  # opening, planning and closing too
        peak = 0
        for turn in range(1500):
            NativeEngine(path, 2).run(pictures(model, 1, 16, 16 + turn % 40))
            peak = max(peak, resident_kb())
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 4096


# --- What is refused -----------------------------------------------------------------------


def test_wrong_inputs(engine: ModuleType, tiny_build: Any) -> None:
    native = NativeEngine(tiny_build[1], 1)
    for shape in ((1, 4, 32, 32), (3, 32, 32), (1, 3, 32)):
        with pytest.raises(OptionError, match=r"takes \(N, 3, H, W\)"):
            native.run(np.zeros(shape, np.float32))
    with pytest.raises(OptionError, match="sides of 1 to 65536"):
        native.run(np.zeros((1, 3, 0, 32), np.float32))
    with pytest.raises(OptionError, match="takes uint8"):
        native.run_pictures(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(OptionError, match="makes no masks"):
        native.run_masks(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(OptionError, match="threads must be 1 to 256"):
        NativeEngine(tiny_build[1], 0)


def test_a_level_that_is_not_here(engine: ModuleType, tiny_build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "avx513")
    with pytest.raises(OptionError, match="unknown instruction set in HSWISH_NATIVE_LEVEL 'avx513'; did you mean"):
        NativeEngine(tiny_build[1])
    monkeypatch.setattr(engine, "levels", lambda: [("generic", True), ("avx9", False)])
    monkeypatch.setenv(LEVEL_VARIABLE, "avx9")
    with pytest.raises(OptionError, match="cannot run avx9; it runs generic"):
        NativeEngine(tiny_build[1])


def test_weights_that_are_no_numbers(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    model, _ = build("lraspp_mobilenet_v3_small", width_mult=0.1, head_channels=8, num_classes=3)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.backbone.stem.norm.running_var.fill_(-1)  # type: ignore[union-attr, operator]
    path = tmp_path / "broken.safetensors"
    save(broken, path)
    native = NativeEngine(path)
    assert not np.isfinite(native.run(pictures(model, 1, 32, 32))).any()
    with pytest.raises(ModelFileError, match="not finite numbers"):
        native.run_masks(np.zeros((1, 32, 32, 3), np.uint8))
