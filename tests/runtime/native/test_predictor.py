"""`Predictor` on the native engine: bytes in, masks out, and the same results as with torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hswish
import hswish.runtime.engine as engine_module
from hswish.models import save
from hswish.runtime.native import NativeAbsentError, NativeEngine, library
from hswish.runtime.postprocess import mask_at_size
from hswish.spec.errors import MissingPackageError
from hswish.spec.preprocess import Preprocess
from tests.runtime.native.conftest import Build


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Blocks of colour, so that neighbouring pixels agree as in photographs."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(cells.repeat(8, 0).repeat(8, 1)[:height, :width])


def file_of(build: Build, tmp_path: Path, name: str, rule: dict[str, Any], **options: Any) -> Path:
    model, _ = build(name, **options)
    before = model.description
    model.describe(preprocess=Preprocess(**rule))
    path = tmp_path / "model.safetensors"
    save(model, path)
    model.description = before
    return path


RULES: list[dict[str, Any]] = [
    {"height": 48, "width": 64, "resize": "stretch"},
    {"height": 40, "width": 40, "resize": "shorter", "channels": "BGR"},
    {"height": 40, "width": 56, "resize": "stretch", "mean": (0.1, 0.2, 0.3), "std": (1, 2, 3)},
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_bytes_are_normalised_inside(
    name: str, rule: dict[str, Any], engine: ModuleType, build: Build, tmp_path: Path
) -> None:
    native = NativeEngine(file_of(build, tmp_path, name, rule, num_classes=5), 1)
    preprocess = native.description.preprocess
    resized = np.asarray(preprocess.resized(picture(60, 90)))
    logits = native.run(preprocess.normalise(resized)[None])
    ordered = preprocess.ordered(resized)[None]
    np.testing.assert_array_equal(native.run_pictures(ordered), logits)
    if native.description.task == "segmentation":
        masks = native.run_masks(ordered)
        assert masks.dtype == np.uint8
        np.testing.assert_array_equal(masks, logits.argmax(1))


def test_grey_pictures(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    rule = {"height": 40, "width": 40, "channels": "L", "mean": (0.4,), "std": (0.2,)}
    path = file_of(build, tmp_path, "mobilenet_v3_small", rule, in_channels=1, num_classes=5)
    image = picture(50, 60)
    np.testing.assert_allclose(
        hswish.Predictor(path, "native")(image).probabilities,
        hswish.Predictor(path, "torch")(image).probabilities,
        atol=1e-5,
    )


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_results_are_torchs(name: str, rule: dict[str, Any], engine: ModuleType, build: Build, tmp_path: Path) -> None:
    path = file_of(build, tmp_path, name, rule, num_classes=5)
    images = [picture(48, 64, 1), picture(40, 40, 2), picture(100, 130, 3), picture(40, 56, 4), picture(48, 64, 5)]
    found, wanted = (hswish.Predictor(path, kind)(images) for kind in ("native", "torch"))
    for one, other, image in zip(found, wanted, images, strict=True):
        if name.startswith("lraspp"):
            assert one.mask.shape == (image.height, image.width)
            assert np.mean(one.mask == other.mask) > 0.999
        else:
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_masks_come_from_the_engine_only_at_the_pictures_size(
    engine: ModuleType, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(build, tmp_path, "lraspp_mobilenet_v3_small", RULES[0], num_classes=5)
    native = NativeEngine(path, 1)
    calls: list[str] = []
    for name in ("run_masks", "run_pictures"):
        real = getattr(native, name)
        monkeypatch.setattr(native, name, lambda pixels, real=real, name=name: (calls.append(name), real(pixels))[1])
    predictor = hswish.Predictor(native)
    predictor(picture(48, 64))
    assert calls == ["run_masks"]
    larger = picture(96, 128)
    result = predictor(larger)
    assert calls == ["run_masks", "run_pictures"]
    logits = native.run(native.description.preprocess(larger)[None])[0]
    np.testing.assert_array_equal(result.mask, mask_at_size(logits, (96, 128)))


def test_without_the_compiled_part(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch steps in; asked for by name, the error says what to do."""
    _, path = build("mobilenet_v3_small", width_mult=0.1, head_channels=8, num_classes=3)
    monkeypatch.setitem(sys.modules, "hswish.runtime.native._engine", None)
    assert type(hswish.Predictor(path)._engine).__name__ == "TorchEngine"
    with pytest.raises(NativeAbsentError, match=r"install was made without: reinstall hswish where g\+\+"):
        hswish.Predictor(path, engine="native")
    monkeypatch.setattr(
        engine_module,
        "entry_points",
        lambda group: [type("Entry", (), {"name": "native", "load": staticmethod(lambda: NativeEngine)})],
    )
    with pytest.raises(MissingPackageError, match="run in torch: pip install"):
        hswish.Predictor(path)
    with pytest.raises(NativeAbsentError, match="a purpose needs"):
        library.library("a purpose")


def test_no_torch_is_loaded(engine: ModuleType, build: Build) -> None:
    _, path = build("mobilenet_v3_small", width_mult=0.1, head_channels=8, num_classes=3)
    script = (
        "import sys, numpy as np, hswish\n"
        f"result = hswish.Predictor({str(path)!r})(np.zeros((40, 40, 3), np.uint8))\n"
        "assert abs(sum(result.probabilities) - 1) < 1e-5\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
