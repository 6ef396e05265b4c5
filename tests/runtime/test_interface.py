from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from hswish.data.augment.pictures import EvalTransform
from hswish.runtime import interface_of, nearest_mask
from hswish.runtime.postprocess import check_answer
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import Interface


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 34, 3)).astype(np.uint8))


@pytest.mark.parametrize("resize", ["crop", "shorter", "stretch"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_training_evaluation_and_prediction_see_the_same_bits(colour_engine, resize: str, interpolation: str) -> None:
    description = colour_engine(
        resize=resize, interpolation=interpolation, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ).description
    predicted = Interface().inputs(description, picture())
    trained, _ = EvalTransform(description.preprocess)(picture(), 0)
    pixels = Interface(takes="pixels").reader(description)(picture())
    np.testing.assert_array_equal(predicted, trained)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(description.preprocess.normalise(pixels), predicted)
    if resize == "stretch":
        method = Image.Resampling[interpolation.upper()]
        np.testing.assert_array_equal(pixels, np.asarray(picture().resize((8, 8), method)))


def test_an_interface_survives_its_file_and_other_processes(colour_engine) -> None:
    made = Interface(takes="pixels", gives="mask", size=(3, 5), precision="float16")
    assert Interface.from_json(made.to_json()) == made
    reader = pickle.loads(pickle.dumps(made.reader(colour_engine().description)))
    np.testing.assert_array_equal(reader(picture()), made.inputs(colour_engine().description, picture()))
    assert interface_of(colour_engine()) == Interface()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"takes": "sound"}',
        '{"new": 1}',
        '{"size": "ab"}',
        '{"size": [0, 3]}',
        '{"size": [Infinity, 1]}',
        "[" * 100_000,
    ],
)
def test_a_malformed_interface_is_named(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"net\.onnx: its hswish_interface"):
        Interface.from_json(text, "net.onnx")


def test_masks_are_checked_and_brought_to_size(colour_engine) -> None:
    description, masks = colour_engine("segmentation").description, Interface(gives="mask")
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    np.testing.assert_array_equal(nearest_mask(mask, (4, 4)), mask.repeat(2, 0).repeat(2, 1))
    assert check_answer(mask[None], masks, description, 1) is not None
    for answer in (mask[None] + 1, mask, mask[None].astype(np.int64), mask[None].repeat(2, 0)):
        with pytest.raises(ModelFileError, match="gives masks"):
            check_answer(answer, masks, description, 1)
