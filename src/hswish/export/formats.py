"""The formats by name; each writer's file is loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from hswish.export.job import Writer
from hswish.spec.errors import OptionError, unknown_name

_WRITERS = {
    "onnx": "OnnxWriter",
    "openvino": "OpenVinoWriter",
    "litert": "LiteRtWriter",
    "executorch": "ExecuTorchWriter",
    "ncnn": "NcnnWriter",
    "coreml": "CoreMlWriter",
    "native": "NativeWriter",
}
FORMATS = tuple(name for name in _WRITERS if name != "native")
"""Names that `hswish export --format` takes; with `--int8`, `native` as well."""


def writer(name: str) -> Writer:
    """The writer of a format.

    Raises:
        OptionError: no such format.
    """
    if name not in _WRITERS:
        raise unknown_name("format", name, _WRITERS)
    module = importlib.import_module(f"hswish.export.{name}")
    made: Writer = getattr(module, _WRITERS[name])()
    return made


def writers(names: Iterable[str]) -> list[Writer]:
    """The writers of several formats, each once.

    Raises:
        OptionError: no such format, or none named.
    """
    found = [writer(name) for name in dict.fromkeys(names)]
    if not found:
        raise OptionError(f"name a format: {', '.join(FORMATS)}")
    return found
