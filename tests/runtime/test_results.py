from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from hswish.runtime import ClassificationResult, SegmentationResult
from hswish.runtime.results import colour_overlay
from hswish.spec.errors import OptionError
from hswish.spec.palette import palette

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def classified(picture: Image.Image = PICTURE) -> ClassificationResult:
    return ClassificationResult(
        name="a/cat.jpg",
        classes=("dog", "cat", "cow"),
        probabilities=np.array([0.25, 0.5, 0.25], np.float32),
        picture=picture,
        time_ms=1.23456,
    )


def segmented() -> SegmentationResult:
    mask = np.zeros((30, 40), np.uint8)
    mask[:15, :20], mask[:3, 20:] = 2, 1
    return SegmentationResult(name="s", classes=("background", "a", "b"), mask=mask, picture=PICTURE, time_ms=2.0)


def test_top_is_ordered_and_of_equals_the_first_wins() -> None:
    assert classified().top(2) == [("cat", 0.5), ("dog", 0.25)]
    assert [label for label, _ in classified().top(99)] == ["cat", "dog", "cow"]
    assert classified().label == "cat"


def test_dictionaries_are_json_ready() -> None:
    values = json.loads(json.dumps(classified().to_dict()))
    assert values["name"] == "a/cat.jpg"
    assert values["label"] == values["top"][0]["label"] == "cat"
    assert values["probability"] == 0.5
    assert values["time_ms"] == 1.235
    values = json.loads(json.dumps(segmented().to_dict()))
    assert (values["height"], values["width"]) == (30, 40)
    assert values["shares"] == {"background": 0.7, "b": 0.25, "a": 0.05}
    assert list(values["shares"]) == ["background", "b", "a"]


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (640, 480), (3, 900), (900, 2)])
def test_label_is_drawn_on_pictures_of_any_size(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (200, 30, 30))
    overlay = classified(picture).overlay()
    assert overlay.mode == "RGB"
    assert overlay.width % size[0] == 0  # enlarged by a whole factor, never distorted
    assert overlay.height * size[0] == overlay.width * size[1]
    assert overlay.getpixel((0, 0)) == (200, 30, 30) or size[1] < 20
    assert np.asarray(overlay).min() < 100  # something was written
    assert picture.getextrema() == ((200, 200), (30, 30), (30, 30))  # and not on the original


def test_overlays_of_many_strips_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 21, 3), np.uint8))
    mask = np.random.default_rng(1).integers(0, 3, (37, 21)).astype(np.uint8)
    mask[3] = 255
    classes = ("background", "road", "sky")
    before, colours = np.asarray(picture), palette(classes)
    whole = np.asarray(colour_overlay(picture, mask, classes, 0.5))
    monkeypatch.setattr("hswish.runtime.results._STRIP_PIXELS", 50)
    np.testing.assert_array_equal(np.asarray(colour_overlay(picture, mask, classes, 0.5)), whole)
    tinted = (mask == 1) | (mask == 2)
    wanted = np.where(tinted[..., None], (before.astype(float) + colours[mask]) / 2, before)
    assert np.abs(whole - wanted).max() <= 1
    np.testing.assert_array_equal(np.asarray(picture), before)  # the caller's own


def test_overlay_tints_classes_and_leaves_the_background() -> None:
    result = segmented()
    before, after = np.asarray(PICTURE), np.asarray(result.overlay(0.5))
    background = result.mask == 0
    assert np.array_equal(before[background], after[background])
    expected = (before[result.mask == 2].astype(float) + palette(result.classes)[2]) / 2
    np.testing.assert_allclose(after[result.mask == 2], expected, atol=1.5)
    assert np.array_equal(np.asarray(result.overlay(0)), before)
    assert np.array_equal(np.asarray(result.overlay(1))[result.mask == 1][0], palette(result.classes)[1])
    with pytest.raises(OptionError, match="0 to 1"):
        result.overlay(50)


def test_mask_image_holds_indices_and_shows_colours(tmp_path) -> None:
    result = segmented()
    result.mask_image().save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as saved:
        assert saved.mode == "P"
        assert np.array_equal(np.asarray(saved), result.mask)
        assert np.array_equal(np.asarray(saved.convert("RGB")), palette(result.classes)[result.mask])


def test_segmentation_top_is_by_share() -> None:
    assert segmented().top(2) == [("background", 0.7), ("b", 0.25)]
    assert segmented().label == "background"
