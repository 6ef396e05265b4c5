"""A network in 8 bits that answers as it did in 32: passes over the graph, each usable alone.

Every pass is a function from a graph (and what calibration saw) to a graph; `docs/quantization.md`
says what each gives.
"""

from hswish.quantize.pipeline import Passes, quantize
from hswish.quantize.places import Scheme

__all__ = ["Passes", "Scheme", "quantize"]
