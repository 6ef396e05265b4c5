"""The torch engine: the same numbers as the network, found through the installed entry point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import hswish
from hswish.models import DescribedModule, create_model, save
from hswish.models.engine import TorchEngine, channels_last
from hswish.runtime import open_engine
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.preprocess import Preprocess

Lived = Callable[..., nn.Module]


def described(name: str, lived: Lived, **preprocess: object) -> DescribedModule:
    model = lived(create_model(name, width_mult=0.1, num_classes=4))
    assert isinstance(model, DescribedModule)
    model.describe(
        classes=("sky", "road", "tree", "car"),
        preprocess=Preprocess(**{"height": 48, "width": 64, "resize": "stretch", **preprocess}),  # type: ignore[arg-type]
    )
    return model


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_large"])
@pytest.mark.parametrize("batch", [1, 3])
def test_run_is_the_network(name: str, batch: int, lived: Lived) -> None:
    model = described(name, lived)
    pixels = np.random.default_rng(0).normal(size=(batch, 3, 45, 70)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(pixels)).numpy()
    for engine in (TorchEngine(model), TorchEngine(channels_last(model), "cpu")):
        logits = engine.run(pixels)
        assert logits.dtype == np.float32
        assert logits.shape == wanted.shape
        np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    assert engine.description is model.description
    strided = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(engine.run(strided), logits)


def test_run_leaves_the_network_as_it_was(lived: Lived) -> None:
    model = described("mobilenet_v3_small", lived).train()
    model.backbone.stem.eval()  # type: ignore[union-attr]  # a frozen part
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    engine = TorchEngine(model)
    pixels = np.ones((2, 3, 32, 32), np.float32)
    first = engine.run(pixels)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    np.testing.assert_array_equal(first, engine.run(pixels))
    np.testing.assert_allclose(first, TorchEngine(model.eval()).run(pixels))
    model.train()
    with pytest.raises(RuntimeError):
        engine.run(np.ones((2, 5, 32, 32), np.float32))
    assert all(module.training for module in model.modules()), "also after an error"


def test_a_network_can_be_trained_after_it_ran(lived: Lived) -> None:
    model = described("mobilenet_v3_small", lived).train()
    TorchEngine(model).run(np.ones((2, 3, 32, 32), np.float32))
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_file_is_opened_through_the_entry_point(tiny: DescribedModule, tiny_file: Path) -> None:
    for opened in (open_engine(tiny_file, "torch"), open_engine(str(tiny_file), "torch"), TorchEngine.open(tiny_file)):
        assert isinstance(opened, TorchEngine)
        assert opened.description == tiny.description
        pixels = np.random.default_rng(1).normal(size=(2, 3, 40, 40)).astype(np.float32)
        with torch.no_grad():
            wanted = tiny(torch.from_numpy(pixels)).numpy()
        np.testing.assert_allclose(opened.run(pixels), wanted, rtol=1e-3, atol=1e-4)


def test_threads_are_torchs(tiny_file: Path) -> None:
    TorchEngine.open(tiny_file, threads=2)
    assert torch.get_num_threads() == 2  # put back by the fixture


def test_other_files_are_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(2)}, pickled)
    with pytest.raises(ModelFileError, match="no engine here opens"):
        open_engine(pickled)
    with pytest.raises(ModelFileError, match="pickled"):
        open_engine(pickled, "torch")
    with pytest.raises(OptionError, match="did you mean torch"):
        open_engine(pickled, "troch")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_a_picture_from_file_to_result(name: str, tmp_path: Path, lived: Lived) -> None:
    model = described(name, lived)
    path = tmp_path / "model.safetensors"
    save(model, path)
    pixels = np.random.default_rng(2).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")

    predictor = hswish.Predictor(path)
    result = predictor(tmp_path / "street.png")

    scaled = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with torch.no_grad():
        logits = model.double()(torch.from_numpy(scaled.transpose(2, 0, 1)[None]))[0]
    assert predictor.classes == ("sky", "road", "tree", "car")
    if predictor.task == "segmentation":
        assert result.mask.shape == (48, 64)
        assert np.mean(result.mask == logits.argmax(0).numpy()) > 0.999
    else:
        np.testing.assert_allclose(result.probabilities, torch.softmax(logits, 0).numpy(), atol=1e-3)
        assert result.top(1)[0][0] == predictor.classes[int(logits.argmax())]
    assert result.to_dict()
