"""Prediction on any machine: engines, their results, and the `Predictor` that joins them. No torch."""

from hswish.runtime.engine import Engine, open_engine
from hswish.runtime.named import Named
from hswish.runtime.outputs import OutputNames
from hswish.runtime.postprocess import check_logits, mask_at_size, softmax
from hswish.runtime.predictor import Predictor
from hswish.runtime.results import ClassificationResult, Result, SegmentationResult
from hswish.runtime.sources import expand_sources

__all__ = [
    "ClassificationResult",
    "Engine",
    "Named",
    "OutputNames",
    "Predictor",
    "Result",
    "SegmentationResult",
    "check_logits",
    "expand_sources",
    "mask_at_size",
    "open_engine",
    "softmax",
]
