"""Scores as pure functions, each under one accumulator. numpy only, so that a device model needs no torch."""

from hswish.metrics.classification import ClassificationMetrics, ClassificationScores, calibration_error, top_k_correct
from hswish.metrics.confusion import confusion_matrix
from hswish.metrics.segmentation import (
    SegmentationMetrics,
    SegmentationScores,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)

__all__ = [
    "ClassificationMetrics",
    "ClassificationScores",
    "SegmentationMetrics",
    "SegmentationScores",
    "calibration_error",
    "confusion_matrix",
    "iou_per_class",
    "mean_iou",
    "pixel_accuracy",
    "top_k_correct",
]
