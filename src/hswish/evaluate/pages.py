"""A page of predictions to look at: a score says how often a model errs, this says how."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.source import DataSource, Item
from hswish.evaluate.class_names import match_classes
from hswish.evaluate.sheet import GREEN, INK, QUIET, RED, Tile, class_legend, contact_sheet, fit
from hswish.runtime import ClassificationResult, Engine, Predictor, Result, SegmentationResult
from hswish.runtime.results import colour_overlay
from hswish.spec.errors import DataError, OptionError, PictureError
from hswish.spec.files import write_aside
from hswish.spec.palette import IGNORE_INDEX

_THUMBNAIL = (150, 150)
_SCENE = (250, 190)
_OPACITY = 0.65


def prediction_page(
    engine: Engine, source: DataSource, split: str, path: str | Path, count: int = 24, seed: int = 0
) -> None:
    """Write a PNG page of `count` pictures of `split`, drawn at random by `seed`.

    Labels: the picture over the predicted class, green where it is right, else red over the
    truth. Masks: picture, truth and prediction side by side, and a legend of the colours.

    Raises:
        DataError: no such split, classes the model does not know, or no readable picture.
        OptionError: `count` is below 1.
        SaveError: the file cannot be written.
    """
    if count < 1:
        raise OptionError(f"a page needs 1 picture or more, not {count}")
    table = match_classes(source, engine.description)
    items = source.items(split)
    items = tuple(random.Random(seed).sample(items, min(count, len(items))))
    predictor = Predictor(engine)
    tiles, right = [], 0
    for item in items:
        try:
            tile, correct = prediction_tile(predictor, source, item, table)
        except PictureError:  # evaluation lists it; a page of the others is still a page
            continue
        tiles.append(tile)
        right += correct
    if not tiles:
        raise DataError(f"{source.location}: none of {len(items)} pictures of {split} can be read; check the files")
    segmentation = source.task == "segmentation"
    subtitle = f"{engine.description.model}, {len(tiles)} pictures of {split}"
    subtitle += ": picture, truth, prediction" if segmentation else f", {right} right"
    page = contact_sheet(
        source.name,
        subtitle,
        tiles,
        page_width=1600 if segmentation else 1040,
        legend=class_legend(predictor.classes) if segmentation else (),
    )
    with write_aside(path) as aside:
        page.save(aside, format="PNG")


def prediction_tile(
    predictor: Predictor, source: DataSource, item: Item, table: NDArray[np.int64]
) -> tuple[Tile, bool]:
    """The tile of one item, and whether its label is right (masks: never).

    Args:
        table: the model's index of each of the data's classes, from `match_classes`.

    Raises:
        PictureError: the picture or its mask cannot be read.
    """
    picture, target = source.read(item)
    result: Result = predictor(picture)
    if isinstance(result, SegmentationResult):
        assert not isinstance(target, int)
        return _scene_tile(result, table[target].astype(np.uint8)), False
    assert isinstance(target, int)
    truth = result.classes[int(table[target])]
    return _label_tile(result, truth), result.label == truth


def _label_tile(result: ClassificationResult, truth: str) -> Tile:
    label, probability = result.top(1)[0]
    said = f"{label}  {probability:.0%}"
    lines = [(said, GREEN), ("", QUIET)] if label == truth else [(said, RED), (f"is {truth}", INK)]
    return Tile(pictures=[fit(result.picture, *_THUMBNAIL)], lines=lines)


def _scene_tile(result: SegmentationResult, truth: NDArray[np.uint8]) -> Tile:
    """Picture, truth and prediction; the share of labelled pixels that is right stands below."""
    picture = fit(result.picture, *_SCENE)
    panels, grey = [picture], picture.convert("L").convert("RGB")  # the picture's own colours would mix in
    for mask in (truth, result.mask):
        small = np.asarray(fit(Image.fromarray(mask), *_SCENE, smooth=False))
        panels.append(colour_overlay(grey, small, result.classes, _OPACITY))
    labelled = truth != IGNORE_INDEX
    right = float((result.mask == truth)[labelled].mean()) if labelled.any() else float("nan")
    return Tile(pictures=panels, lines=[(f"{right:.0%} of pixels right" if labelled.any() else "no labels", QUIET)])
