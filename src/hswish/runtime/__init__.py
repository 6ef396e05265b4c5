"""Prediction on any machine: engines, their results, and the `Predictor` that joins them. No torch."""

from hswish.runtime.engine import Engine, engines_for, interface_of, open_engine, run_lent
from hswish.runtime.named import Named
from hswish.runtime.outputs import OutputNames
from hswish.runtime.postprocess import check_answer, check_logits, mask_at_size, nearest_mask, softmax
from hswish.runtime.predictor import Predictor
from hswish.runtime.refined import Mirrored, Windowed
from hswish.runtime.results import ClassificationResult, Result, SegmentationResult
from hswish.runtime.sources import expand_sources

__all__ = [
    "ClassificationResult",
    "Engine",
    "Mirrored",
    "Named",
    "OutputNames",
    "Predictor",
    "Result",
    "SegmentationResult",
    "Windowed",
    "check_answer",
    "check_logits",
    "engines_for",
    "expand_sources",
    "interface_of",
    "mask_at_size",
    "nearest_mask",
    "open_engine",
    "run_lent",
    "softmax",
]
