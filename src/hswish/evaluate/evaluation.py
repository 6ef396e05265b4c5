"""The outcome of an evaluation, for people and for machines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hswish.metrics import ClassificationScores, SegmentationScores
from hswish.spec.architecture import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Scores of one model on one split; every fraction is in [0, 1]."""

    model: str
    """architecture"""
    data: str
    """short name of the data set"""
    split: str
    task: Task
    classes: tuple[str, ...]
    """the model's class names, in the order of all per-class figures"""
    scores: ClassificationScores | SegmentationScores
    skipped: tuple[tuple[str, str], ...]
    """(file, reason) of the pictures that could not be read"""
    seconds: float
    """wall time, reading included"""

    @property
    def count(self) -> int:
        """Pictures evaluated."""
        return self.scores.count

    @property
    def headline(self) -> tuple[str, float]:
        """The one number by which models are compared: ("top1" or "miou", value)."""
        if isinstance(self.scores, SegmentationScores):
            return "miou", self.scores.miou
        return "top1", self.scores.top1

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that no figure speaks of, because they do not occur (for masks: nor are predicted)."""
        if isinstance(self.scores, SegmentationScores):
            return tuple(self.classes[index] for index in self.scores.absent)
        return tuple(name for name, count in zip(self.classes, self.scores.support, strict=True) if not count)

    def summary(self) -> dict[str, float | None]:
        """The figures that fit on one line, by name."""
        return _summary(self.scores)

    def per_class(self) -> dict[str, float | None]:
        """One figure a class: recall for labels, IoU for masks; None where undefined."""
        return {name: row["iou" if self.task == "segmentation" else "recall"] for name, row in self._rows()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `per_class` is recall for labels, IoU for masks; null where undefined."""
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "task": self.task,
            "count": self.count,
            **_summary(self.scores),
            "per_class": self.per_class(),
            "details": dict(self._rows()),
            "absent": list(self.absent),
            "confusion": self.scores.confusion.tolist(),
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "seconds": round(self.seconds, 3),
        }

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        """For each class its name and its figures."""
        scores = self.scores
        columns: dict[str, Any]
        if isinstance(scores, SegmentationScores):
            columns = {"iou": scores.iou, "recall": scores.recall, "pixels": scores.support}
        else:
            columns = {
                "precision": scores.precision,
                "recall": scores.recall,
                "f1": scores.f1,
                "count": scores.support,
            }
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return [
            (name, {key: _plain(value) for key, value in zip(columns, row, strict=True)})
            for name, row in zip(self.classes, rows, strict=True)
        ]


def _summary(scores: ClassificationScores | SegmentationScores) -> dict[str, float | None]:
    if isinstance(scores, SegmentationScores):
        return {"miou": _plain(scores.miou), "pixel_accuracy": _plain(scores.pixel_accuracy)}
    return {"top1": scores.top1, "top5": scores.top5, "calibration_error": _plain(scores.calibration_error)}


def _plain(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
