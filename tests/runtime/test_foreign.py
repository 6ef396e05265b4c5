"""Networks that do not describe themselves, against the same sums in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hswish.runtime.foreign import ForeignEngine
from hswish.spec.artifact import METADATA_KEY, Description
from hswish.spec.errors import HswishError
from hswish.spec.preprocess import Preprocess

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from tests.foreign_network import write_network  # noqa: E402

WEIGHT = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
PICTURES = np.random.default_rng(1).normal(size=(5, 3, 8, 6)).astype(np.float32)


def description(model: str = "mobilenet_v3_small", classes: int = 3) -> Description:
    return Description(
        model=model,
        options={"num_classes": classes},
        classes=tuple("abcdefgh"[:classes]),
        preprocess=Preprocess(height=8, width=6),
    )


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_answers_are_the_networks(masks: bool, halves: bool, tmp_path: Path) -> None:
    """In halves within the seven bits that bfloat16 keeps, where its runtime is installed; otherwise as in float32."""
    path = write_network(tmp_path / "big.onnx", WEIGHT, masks=masks)
    name = "lraspp_mobilenet_v3_small" if masks else "mobilenet_v3_small"
    engine = ForeignEngine.open(path, 1, description=description(name), halves=halves)
    pixels = np.einsum("kc,nchw->nkhw", WEIGHT, PICTURES)
    wanted = pixels if masks else pixels.mean((2, 3))
    for count in (5, 1, 3):
        answer = engine.run(PICTURES[:count])
        assert answer.dtype == np.float32
        assert np.abs(answer - wanted[:count]).max() < (2**-5 if engine.name == "openvino" else 1e-5)


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = write_network(tmp_path / "big.onnx", WEIGHT, apart=True)
    assert (tmp_path / "big.onnx.data").is_file()
    answer = ForeignEngine.open(path, description=description()).run(PICTURES)
    assert np.allclose(answer, np.einsum("kc,nchw->nk", WEIGHT, PICTURES) / 48, atol=1e-5)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    good, damaged = write_network(tmp_path / "good.onnx", WEIGHT), tmp_path / "damaged.onnx"
    damaged.write_bytes(good.read_bytes()[:40])
    ours = onnx.load(good)
    ours.metadata_props.add(key=METADATA_KEY, value="{}")
    onnx.save(ours, tmp_path / "ours.onnx")
    several = onnx.load(good)
    several.graph.output.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, None))
    onnx.save(several, tmp_path / "several.onnx")
    for path, words in (
        (tmp_path / "none.onnx", "no such model file"),
        (damaged, "not an .onnx model"),
        (tmp_path / "ours.onnx", "an export of hswish; give the .safetensors"),
        (tmp_path / "several.onnx", "1 inputs and 2 outputs"),
        (write_network(tmp_path / "fixed.onnx", WEIGHT, batch=1), "dynamic batch axis"),
    ):
        with pytest.raises(HswishError, match=words) as caught:
            ForeignEngine.open(path, description=description())
        assert str(path) in str(caught.value)
    with pytest.raises(HswishError, match=r"gives \(5, 3\) where logits \(5, 4\)"):
        ForeignEngine.open(good, description=description(classes=4)).run(PICTURES)
    with pytest.raises(HswishError, match=r"does not take pictures of the shape \(5, 1, 8, 6\)"):
        ForeignEngine.open(good, description=description()).run(PICTURES[:, :1])
