from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hswish.evaluate import evaluate
from hswish.spec.errors import DataError, ModelFileError

THREE = {"red": ["red"] * 4, "green": ["green", "green", "green", "blue"], "blue": ["blue", "red"]}


def test_labels_are_scored(labelled, colour_engine) -> None:
    seen: list[tuple[int, int]] = []
    engine = colour_engine("classification", ("blue", "green", "red"))
    source = labelled(THREE)
    result = evaluate(engine, source, "val", batch_size=4, workers=0, progress=lambda *done: seen.append(done))
    assert (result.count, result.skipped, result.split) == (10, (), "val")
    assert result.headline == ("top1", pytest.approx(0.8))
    assert seen[-1] == (10, 10)
    values = json.loads(json.dumps(result.to_dict()))
    assert values["top1"] == pytest.approx(0.8)
    assert values["top5"] == 1.0
    assert values["per_class"] == {"blue": 0.5, "green": 0.75, "red": 1.0}
    assert values["details"]["red"]["precision"] == pytest.approx(0.8)
    assert values["confusion"] == [[1, 0, 1], [1, 3, 0], [0, 0, 4]]  # in the model's order
    assert 0 <= values["calibration_error"] <= 1


def test_pictures_of_one_size_run_together(labelled, colour_engine) -> None:
    engine = colour_engine("classification")
    evaluate(engine, labelled({"red": ["red"] * 6}), "val", batch_size=6, workers=0)
    assert sorted(engine.batches) == [(3, 3, 24, 24), (3, 3, 24, 32)]


def test_masks_are_scored_at_their_own_size(scenes, colour_engine) -> None:
    result = evaluate(colour_engine("segmentation"), scenes(), "val", workers=0)
    assert result.headline == ("miou", 1.0)
    half = evaluate(colour_engine("segmentation", height=12, width=12), scenes(), "val", workers=0)
    assert 0.5 < half.headline[1] < 1  # a smaller input costs, it is not flattered


def test_iou_is_over_the_data_set_and_ignores_255(scenes, colour_engine) -> None:
    def spoil(mask: np.ndarray) -> np.ndarray:
        mask[:, :12] = 255
        mask[:4, 12:] = 1  # a truth that the engine cannot see
        return mask

    source = scenes(spoil=spoil)
    values = evaluate(colour_engine("segmentation"), source, "val", workers=0).to_dict()
    truth = np.stack([source.read_mask(item) for item in source.items("val")])
    pictures = np.stack([np.asarray(source.read_picture(item)) for item in source.items("val")])
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255)])
    predicted = (pictures[..., None, :] == colours).all(-1).argmax(-1)
    labelled = truth != 255
    expected = {}
    for index, name in enumerate(source.classes):
        a, b = (truth == index) & labelled, (predicted == index) & labelled
        expected[name] = (a & b).sum() / (a | b).sum() if (a | b).any() else None
    assert values["per_class"] == pytest.approx(expected)
    assert values["absent"] == [name for name, iou in expected.items() if iou is None]
    assert values["miou"] == pytest.approx(np.mean([iou for iou in expected.values() if iou is not None]))
    assert values["pixel_accuracy"] == pytest.approx((truth == predicted)[labelled].mean())


def test_classes_are_matched_by_name(labelled, scenes, colour_engine) -> None:
    source = labelled({"green": ["green"], "blue": ["blue", "blue"]})
    result = evaluate(colour_engine("classification", ("white", "green", "red", "blue")), source, "val", workers=0)
    assert result.headline == ("top1", 1.0)
    assert result.to_dict()["per_class"] == {"white": None, "green": 1.0, "red": None, "blue": 1.0}
    assert result.absent == ("white", "red")
    turned = scenes(classes=("white", "red", "background", "blue"))
    assert evaluate(colour_engine("segmentation"), turned, "val", workers=0).headline == ("miou", 1.0)


def test_data_that_does_not_fit_the_model(labelled, scenes, colour_engine) -> None:
    source = labelled(THREE)
    with pytest.raises(DataError, match="has 3 classes, the model 2, and the model does not know 'blue'"):
        evaluate(colour_engine("classification", ("green", "red")), source, "val", workers=0)
    with pytest.raises(DataError, match="is for classification, the model lraspp_mobilenet_v3_small for segm"):
        evaluate(colour_engine("segmentation"), source, "val", workers=0)
    with pytest.raises(DataError, match="has no split 'test'; it has val"):
        evaluate(colour_engine("classification"), source, "test", workers=0)
    with pytest.raises(DataError, match=r"masks/val/0\.png: the mask is 36x20 pixels"):
        evaluate(colour_engine("segmentation"), scenes(spoil=lambda mask: mask[:20]), "val", workers=0)
    with pytest.raises(DataError, match="no labelled pixel"):
        evaluate(colour_engine("segmentation"), scenes(spoil=lambda mask: mask * 0 + 255), "val", workers=0)


def spoil_files(folder: Path, count: int) -> None:
    for path in sorted(folder.rglob("*.png"))[:count]:
        path.write_bytes(path.read_bytes()[:40])


def test_a_few_bad_files_are_skipped_and_listed(labelled, colour_engine, tmp_path: Path) -> None:
    source = labelled({"red": ["red"] * 10, "blue": ["blue"] * 10})
    spoil_files(tmp_path, 2)
    result = evaluate(colour_engine("classification"), source, "val", workers=0)
    assert (result.count, len(result.skipped)) == (18, 2)
    name, reason = result.skipped[0]
    assert name.endswith("val/blue/0.png")
    assert result.to_dict()["skipped"][0] == {"name": name, "reason": reason}
    spoil_files(tmp_path, 3)
    with pytest.raises(DataError, match="3 of 20 files cannot be used"):
        evaluate(colour_engine("classification"), source, "val", workers=0)
    spoil_files(tmp_path, 20)
    with pytest.raises(DataError, match="5 of 5 files"):
        evaluate(colour_engine("classification"), source, "val", workers=0, limit=5)


def test_limit_takes_a_part(labelled, colour_engine) -> None:
    source = labelled({"red": ["red"] * 10, "blue": ["blue"] * 10})
    result = evaluate(colour_engine("classification"), source, "val", workers=0, limit=4)
    assert result.scores.support.tolist() == [0, 2, 0, 2, 0, 0]
    assert evaluate(colour_engine("classification"), source, "val", workers=0, limit=99).count == 20


def test_a_broken_model_is_not_scored(labelled, colour_engine) -> None:
    engine = colour_engine("classification")
    engine.run = lambda batch: np.full((len(batch), 6), np.nan, np.float32)
    with pytest.raises(ModelFileError, match="not finite"):
        evaluate(engine, labelled({"red": ["red"]}), "val", workers=0)
