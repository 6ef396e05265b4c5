"""hswish: MobileNetV3 and Lite R-ASPP, from a folder of pictures to a model that runs.

    import hswish

    model = hswish.create_model("mobilenet_v3_small", num_classes=10)
    model = hswish.load("best.safetensors")
    predictor = hswish.Predictor("best.safetensors")

Importing the package imports neither torch nor numpy; each name loads what it needs when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hswish.models import create_model, list_models, load, save
    from hswish.runtime import Predictor
    from hswish.spec.errors import HswishError

__version__ = "0.1.0"

_HOMES = {
    "create_model": "hswish.models",
    "list_models": "hswish.models",
    "load": "hswish.models",
    "save": "hswish.models",
    "Predictor": "hswish.runtime",
    "HswishError": "hswish.spec.errors",
}

__all__ = ["HswishError", "Predictor", "__version__", "create_model", "list_models", "load", "save"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hswish' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
