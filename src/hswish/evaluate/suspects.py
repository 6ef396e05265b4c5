"""Suspects: the pictures that a model gets wrong with most confidence, which often are wrong labels.

For labels the score is the probability of the wrong answer. For masks it is the mean, over the
labelled pixels, of the probability of the answer where that is wrong and 0 where it is right.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.source import DataSource
from hswish.evaluate.class_names import match_classes
from hswish.evaluate.pages import prediction_tile
from hswish.evaluate.sheet import QUIET, class_legend, contact_sheet
from hswish.runtime import Engine, Predictor
from hswish.spec.errors import DataError, OptionError, PictureError
from hswish.spec.files import write_aside
from hswish.spec.palette import IGNORE_INDEX


@dataclass(frozen=True, kw_only=True, order=True)
class Suspect:
    """One picture that the model contradicts."""

    score: float
    """confidence of the contradiction, in [0, 1]"""
    index: int
    """of the item in its split"""
    predicted: str
    """the answer; for a mask the class that is most often answered wrongly"""
    truth: str
    """the label; for a mask the class that most of those pixels are labelled as"""
    wrong: float
    """1 for a label; for a mask the part of the labelled pixels that is answered otherwise"""


class Suspects:
    """Collects the `count` most suspicious pictures; give it to `evaluate` as `watch`.

    Raises:
        OptionError: `count` is below 1.
    """

    def __init__(self, classes: Sequence[str], count: int) -> None:
        if count < 1:
            raise OptionError(f"a list of suspects needs 1 picture or more, not {count}")
        self._classes, self._count = tuple(classes), count
        self._heap: list[Suspect] = []  # the least suspicious first

    def __call__(self, index: int, logits: NDArray[np.float32], truth: int | NDArray[np.uint8]) -> None:
        """Look at one picture: logits (K,) with its class index, or (K, h, w) with its mask (H, W)."""
        suspect = self._label(logits, truth) if isinstance(truth, int) else self._mask(logits, truth)
        if suspect is None:
            return
        suspect = replace(suspect, index=index)
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, suspect)
        else:
            heapq.heappushpop(self._heap, suspect)

    def found(self) -> list[Suspect]:
        """The suspects, the worst first."""
        return sorted(self._heap, reverse=True)

    def _label(self, logits: NDArray[np.float32], truth: int) -> Suspect | None:
        answer = int(logits.argmax())
        if answer == truth:
            return None
        return self._suspect(float(_softmax(logits)[answer]), answer, truth, 1.0)

    def _mask(self, logits: NDArray[np.float32], truth: NDArray[np.uint8]) -> Suspect | None:
        """At the size of the logits, which is a fraction of the mask's: enough to rank pictures."""
        size = logits.shape[2], logits.shape[1]
        small = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))
        labelled = small != IGNORE_INDEX
        answers = logits.argmax(0)
        wrong = labelled & (answers != small)
        if not wrong.any():
            return None
        confidence = np.take_along_axis(_softmax(logits), answers[None], axis=0)[0]
        count = len(self._classes)
        pairs = np.bincount(small[wrong].astype(np.int64) * count + answers[wrong], minlength=count * count)
        label, answer = divmod(int(pairs.argmax()), count)
        total = labelled.sum()
        return self._suspect(float(confidence[wrong].sum() / total), answer, label, float(wrong.sum() / total))

    def _suspect(self, score: float, predicted: int, truth: int, wrong: float) -> Suspect:
        return Suspect(
            score=score, index=-1, predicted=self._classes[predicted], truth=self._classes[truth], wrong=wrong
        )


def suspects_to_list(suspects: Sequence[Suspect], source: DataSource, split: str) -> list[dict[str, Any]]:
    """JSON-ready, with the file of each picture."""
    items = source.items(split)
    return [{"name": source.label(items[suspect.index]), **asdict(suspect)} for suspect in suspects]


def suspects_page(
    engine: Engine, source: DataSource, split: str, suspects: Sequence[Suspect], path: str | Path
) -> None:
    """Write a PNG page of the suspects, the worst first, as `prediction_page` draws pictures.

    Raises:
        DataError: no suspects, or none of them can be read.
        SaveError: the file cannot be written.
    """
    if not suspects:
        raise DataError(f"{source.location}: no picture of {split} is wrong, so there is no page of them")
    table, predictor = match_classes(source, engine.description), Predictor(engine)
    items, tiles = source.items(split), []
    for suspect in suspects:
        item = items[suspect.index]
        try:
            tile, _ = prediction_tile(predictor, source, item, table)
        except PictureError:  # it was readable a moment ago
            continue
        lines = [*tile.lines, (item.picture.rpartition("/")[2], QUIET)]
        if source.task == "segmentation":
            lines.insert(1, (f"{suspect.predicted} where {suspect.truth} is labelled", QUIET))
        tiles.append(replace(tile, lines=lines))
    if not tiles:
        raise DataError(f"{source.location}: none of {len(suspects)} suspects of {split} can be read")
    segmentation = source.task == "segmentation"
    page = contact_sheet(
        f"{source.name}: label suspects of {split}",
        f"{engine.description.model} contradicts the labels of these with most confidence, the worst first"
        + (": picture, truth, prediction" if segmentation else ""),
        tiles,
        page_width=1600 if segmentation else 1040,
        legend=class_legend(predictor.classes) if segmentation else (),
    )
    with write_aside(path) as aside:
        page.save(aside, format="PNG")


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities over the first axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(0))
    return powers / powers.sum(0)
