"""Whole networks computed in bfloat16: as near to the truth as torch comes in bfloat16, whatever the model.

Torch rounds after every operation; the engine keeps in float32 what is inside a block's first half, squeezed vectors
and what heads join. So its error should be no larger than torch's, measured on the same network and picture; half as
much again is allowed, since an answer may be a dozen numbers.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import hswish
from hswish.cli.app import app
from hswish.models import DescribedModule, save
from hswish.runtime import open_engine
from hswish.runtime.native import NativeEngine
from hswish.runtime.native.library import LEVEL_VARIABLE
from hswish.spec.errors import OptionError
from tests.runtime.native.conftest import BF16_LEVELS, Build
from tests.runtime.native.test_engine import CASES, pictures, truth

here = pytest.mark.skipif(not BF16_LEVELS, reason="this processor does not multiply bfloat16")
TINY: dict[str, Any] = {"width_mult": 0.1, "head_channels": 8, "num_classes": 3}


def in_torch(model: DescribedModule, x: np.ndarray) -> np.ndarray:
    """The answer of the network with weights, maps and sums' results in bfloat16."""
    with torch.no_grad():
        return copy.deepcopy(model).bfloat16()(torch.from_numpy(x).bfloat16()).float().numpy()


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square, of the answers' own."""
    assert found.shape == wanted.shape
    return float(np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()))


@here
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))
def test_answers_are_as_near_as_torchs(name: str, options: dict[str, Any], engine: ModuleType, build: Build) -> None:
    model, path = build(name, **options)
    # Of two numbers alone the error may be anything.
    x = pictures(model, 2 if options.get("num_classes") != 1 else 12, 75, 53)
    wanted = truth(model, x)
    ours, theirs = error(NativeEngine(path, 1, "bfloat16").run(x), wanted), error(in_torch(model, x), wanted)
    assert 1e-4 < ours < 1.5 * theirs < 0.3


@here
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2), (97, 259)])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_large"])
def test_any_size(name: str, size: tuple[int, int], engine: ModuleType, build: Build) -> None:
    model, path = build(name)
    x = pictures(model, 1, *size)
    assert error(NativeEngine(path, 2, "bfloat16").run(x), truth(model, x)) < 0.1


@here
def test_batches_and_threads(engine: ModuleType, build: Build) -> None:
    """Threads change the order of float sums at most, and so now and then a rounding."""
    model, path = build("lraspp_mobilenet_v3_small")
    x = pictures(model, 3, 140, 156)
    one = NativeEngine(path, 1, "bfloat16").run(x)
    for threads in (2, 3, 8):
        native = NativeEngine(path, threads, "bfloat16")
        every = native.run(x)
        assert error(every, one) < 0.02
        for index in range(3):
            np.testing.assert_array_equal(native.run(x[index : index + 1])[0], every[index])
    assert native.run(x[:0]).shape == (0, 19, 140, 156)


@here
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_bytes_in_and_masks_out(name: str, engine: ModuleType, build: Build) -> None:
    _, path = build(name)
    native = NativeEngine(path, 2, "bfloat16")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 72, 88, 3), np.uint8)
    normalised = np.stack([native.description.preprocess.normalise(picture) for picture in pixels])
    logits = native.run(normalised)
    np.testing.assert_array_equal(native.run_pictures(pixels), logits)
    if name.startswith("lraspp"):
        np.testing.assert_array_equal(native.run_masks(pixels), logits.argmax(1))


@here
def test_how_it_is_asked_for(engine: ModuleType, build: Build) -> None:
    _, path = build("mobilenet_v3_small", **TINY)
    native = open_engine(path, threads=1, precision="bfloat16")
    assert isinstance(native, NativeEngine)
    assert native.precision == "bfloat16"
    assert {(step.kind, step.dtype) for step in native.operators()} >= {("block", "bfloat16"), ("answer", "float32")}
    assert NativeEngine(path).precision == NativeEngine(path, precision="float32").precision == "float32", "the default"
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    half = hswish.Predictor(path, precision="bfloat16")(picture).probabilities
    full = hswish.Predictor(path)(picture).probabilities
    assert 0 < np.abs(np.subtract(half, full)).max() < 0.05


@here
def test_commands_take_it(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    model, _ = build("mobilenet_v3_small", **TINY)
    model, path = copy.deepcopy(model), tmp_path / "model.safetensors"
    model.describe(classes=("a", "b", "c"))
    save(model, path)
    for index, name in enumerate("abcabc"):
        (tmp_path / "data" / "val" / name).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "data" / "val" / name / f"{index}.png")

    def answer(*arguments: object, precision: str = "bfloat16") -> Any:
        command = [*map(str, arguments), "--engine", "native", "--precision", precision, "--json"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert 0 <= answer("eval", path, tmp_path / "data", "--split", "val", "--workers", 0)["top1"] <= 1
    picture = tmp_path / "data" / "val" / "a" / "0.png"
    measured = ["--data", tmp_path / "data", "--split", "val"]
    rows = answer("bench", path, "--threads", 1, "--runs", 1, *measured, precision="float32,bfloat16")["rows"]
    assert [(row["engine"], row["precision"]) for row in rows] == [("native", "float32"), ("native", "bfloat16")]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert 0 == rows[0]["difference"] < rows[1]["difference"] < 0.5
    wanted = hswish.Predictor(path, precision="bfloat16")(picture)
    assert answer("predict", path, picture, "--top", 3) == wanted.to_dict(3) | {"time_ms": ANY}


# --- What is refused -----------------------------------------------------------------------


def test_where_the_processor_does_not_multiply_it(
    engine: ModuleType, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = build("mobilenet_v3_small", **TINY)
    monkeypatch.setenv(LEVEL_VARIABLE, "generic")
    with pytest.raises(OptionError, match=r"bfloat16 needs a processor that multiplies it .* generic is in use here"):
        NativeEngine(path, precision="bfloat16")
    assert NativeEngine(path, precision="float32").level == "generic"


def test_where_there_is_no_choice(engine: ModuleType, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = build("mobilenet_v3_small", **TINY)
    with pytest.raises(OptionError, match=r"TorchEngine computes in what the file says; a choice .* native engine"):
        open_engine(path, "torch", precision="bfloat16")
    with pytest.raises(OptionError, match="unknown precision 'bfloat'; did you mean bfloat16"):
        open_engine(path, precision="bfloat")
    with pytest.raises(OptionError, match="unknown precision 'half'"):
        NativeEngine(path, precision="half")
    monkeypatch.setattr(NativeEngine, "precisions", ())  # then no engine has a choice
    with pytest.raises(OptionError, match="NativeEngine computes in what the file says"):
        open_engine(path, precision="bfloat16")
