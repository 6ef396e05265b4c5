"""The libraries whose checkpoints can be converted: one line each."""

from __future__ import annotations

import importlib
from functools import cache

from hswish.models.adapters.base import Adapter
from hswish.spec.errors import unknown_name

ADAPTERS = {
    "torchvision": "hswish.models.adapters.torchvision:Torchvision",
    "timm": "hswish.models.adapters.timm:Timm",
    "keras": "hswish.models.adapters.keras:Keras",
    "fastseg": "hswish.models.adapters.fastseg:Fastseg",
    "d-li14": "hswish.models.adapters.d_li14:DLi14",
}
"""library, as it stands before the colon of a SOURCE, to its adapter; imported when asked for"""


@cache
def get_adapter(library: str) -> Adapter:
    """The adapter of `library`.

    Raises:
        OptionError: there is none of that name; the nearest are offered.
    """
    if library not in ADAPTERS:
        raise unknown_name("library", library, ADAPTERS)
    module, name = ADAPTERS[library].split(":")
    adapter: Adapter = getattr(importlib.import_module(module), name)()
    return adapter
