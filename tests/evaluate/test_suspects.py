"""Suspects: the wrong ones, in the order of the model's confidence, as plain loops find them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.evaluate import Suspects, evaluate, suspects_page, suspects_to_list
from hswish.spec.errors import DataError, OptionError
from tests.evaluate.conftest import COLOURS


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def test_labels_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    classes = ("a", "b", "c", "d")
    logits, truths = rng.normal(0, 2, (200, 4)).astype(np.float32), rng.integers(0, 4, 200).tolist()
    watch = Suspects(classes, 12)
    for index, (row, truth) in enumerate(zip(logits, truths, strict=True)):
        watch(index, row, truth)
    wrong = [
        (softmax(row.astype(float)).max(), index)
        for index, (row, truth) in enumerate(zip(logits, truths, strict=True))
        if row.argmax() != truth
    ]
    expected = sorted(wrong, reverse=True)[:12]
    found = watch.found()
    assert [suspect.index for suspect in found] == [index for _, index in expected]
    assert [suspect.score for suspect in found] == pytest.approx([score for score, _ in expected])
    for suspect in found:
        assert suspect.predicted == classes[logits[suspect.index].argmax()]
        assert suspect.truth == classes[truths[suspect.index]]


def test_masks_against_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    classes = ("a", "b", "c")
    logits = rng.normal(0, 2, (30, 3, 6, 8)).astype(np.float32)
    truths = rng.choice([0, 1, 2, 255], (30, 6, 8)).astype(np.uint8)
    watch = Suspects(classes, 30)
    for index in range(30):
        watch(index, logits[index], truths[index])
    for suspect in watch.found():
        shares, truth = softmax(logits[suspect.index].astype(float)), truths[suspect.index]
        total = wrong = score = 0.0
        for row in range(6):
            for column in range(8):
                if truth[row, column] == 255:
                    continue
                total += 1
                answer = shares[:, row, column].argmax()
                if answer != truth[row, column]:
                    wrong += 1
                    score += shares[answer, row, column]
        assert suspect.score == pytest.approx(score / total)
        assert suspect.wrong == pytest.approx(wrong / total)
    scores = [suspect.score for suspect in watch.found()]
    assert scores == sorted(scores, reverse=True)


def test_what_is_right_or_not_labelled_is_no_suspect() -> None:
    watch = Suspects(("a", "b"), 5)
    right = np.zeros((2, 4, 4), np.float32)
    right[1] = 5
    watch(0, right, np.ones((8, 8), np.uint8))
    watch(1, right, np.full((8, 8), 255, np.uint8))
    watch(2, np.array([0.0, 1.0], np.float32), 1)
    assert watch.found() == []
    with pytest.raises(OptionError, match="1 picture or more"):
        Suspects(("a",), 0)


def test_a_wrong_label_is_found_drawn_and_named(labelled, colour_engine, tmp_path: Path) -> None:
    """Of 12 pictures one is in the wrong folder: it is the first suspect."""
    source = labelled({"red": ["red"] * 6, "blue": ["blue"] * 5 + ["red"]})
    engine = colour_engine("classification")
    watch = Suspects(engine.description.classes, 4)
    evaluation = evaluate(engine, source, "val", workers=0, watch=watch)
    assert evaluation.scores.top1 == pytest.approx(11 / 12)
    (suspect,) = watch.found()
    assert (suspect.predicted, suspect.truth) == ("red", "blue")
    (row,) = suspects_to_list([suspect], source, "val")
    assert row["name"].endswith("val/blue/5.png")
    assert json.loads(json.dumps(row)) == row
    suspects_page(engine, source, "val", [suspect], tmp_path / "suspects.png")
    with Image.open(tmp_path / "suspects.png") as image:
        assert image.format == "PNG"
    with pytest.raises(DataError, match="no picture of val is wrong"):
        suspects_page(engine, source, "val", [], tmp_path / "none.png")


def test_a_spoilt_mask_is_the_first_of_its_split(scenes, colour_engine, tmp_path: Path) -> None:
    source = scenes(count=5)
    item = source.items("val")[3]
    place = Path(source.location) / str(item.target)
    mask = np.asarray(Image.open(place)).copy()
    mask[:, :18] = tuple(COLOURS).index("white")
    Image.fromarray(mask).save(place)
    engine = colour_engine("segmentation")
    watch = Suspects(engine.description.classes, 2)
    evaluate(engine, source, "val", workers=0, watch=watch)
    first = watch.found()[0]
    assert first.index == 3
    assert first.truth == "white"
    assert 0.3 < first.wrong < 0.55
    suspects_page(engine, source, "val", watch.found(), tmp_path / "suspects.png")
    assert (tmp_path / "suspects.png").stat().st_size > 1000
