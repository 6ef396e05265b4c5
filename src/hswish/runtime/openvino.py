"""OpenVINO: runs its own `.xml` files, and `.onnx` files where it is asked to."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.exported import ExportedEngine, Operator, count_operators, not_importable, refused
from hswish.spec.artifact import METADATA_KEY, Description
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import INTERFACE_KEY, Interface, read_documents

_LACKS = r"doesn't contain the operation with type: (\w+)|OpenVINO does not support .*?operations?: (\S+)"
_DAMAGED = "not an OpenVINO model, its .bin is missing, or it is damaged; export it again"
_GRAPH = 7 << 3 | 2
"""What stands before the graph in an ONNX file: the number of its field, and that its length follows."""


class OpenVinoEngine(ExportedEngine):
    """Runs an IR on the processor, in float32 whatever shorter types the processor has."""

    name = "openvino"
    suffixes = (".xml", ".onnx")
    lends = True
    _compiled: Any

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> OpenVinoEngine:
        """See `ExportedEngine.open`."""
        try:
            import openvino  # noqa: F401 - `the_core` uses it
        except ImportError as error:
            raise not_importable(error, "openvino", "openvino", f"opening {path}") from error
        if not (_is_ir if path.suffix.lower() == ".xml" else _is_onnx)(path):
            raise ModelFileError(f"{path}: {_DAMAGED}")
        # bfloat16 is the plugin's own choice on processors that have it; it is no longer the model measured.
        # Nor are activations rounded to 8 bits, which it does by itself before linear layers of 8-bit weights.
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = the_core()
            model = core.read_model(str(path))
            documents = _documents(model, path)
            compiled = core.compile_model(model, "CPU", settings)
        except (RuntimeError, UnicodeDecodeError) as error:
            raise refused(path, "openvino", error, _LACKS, _DAMAGED) from error
        engine = cls(path, *documents)
        engine._compiled = compiled
        return engine

    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self._compiled(batch, share_outputs=True)[0])

    def operators(self) -> tuple[Operator, ...]:
        """Steps of the compiled model; those of the plugin's reference kernels are not accelerated."""
        steps: list[tuple[str, str, bool | None]] = []
        for step in self._compiled.get_runtime_model().get_ops():
            kind, precision, primitive = (_text(step.rt_info, key) for key in _FACTS)
            if kind not in _NO_STEPS:
                steps.append((kind, _TYPES.get(precision, precision), not primitive.startswith("ref")))
        return count_operators(steps)


def _is_ir(path: Path) -> bool:
    """Whether a file begins as an IR: OpenVINO takes whatever else it is given for TensorFlow's, and says so aloud."""
    try:
        with open(path, "rb") as file:
            _, root = next(ElementTree.iterparse(file, events=("start",)))
    except (ElementTree.ParseError, StopIteration, ValueError, LookupError):  # of an encoding that there is not
        return False
    return bool(root.tag == "net")


def _is_onnx(path: Path) -> bool:
    """Whether a file is fields of a protocol buffer from end to end, and one of them a graph; for the same reason."""
    content = path.read_bytes()
    place, graph = 0, False
    try:
        while place < len(content):
            tag, place = _number(content, place)
            if not tag >> 3:
                return False
            graph = graph or tag == _GRAPH
            if tag & 7 == 0:
                _, place = _number(content, place)
            elif tag & 7 == 2:
                length, place = _number(content, place)
                place += length
            else:
                place += {1: 8, 5: 4}[tag & 7]
    except LookupError:  # another kind of field, or a number that is cut off
        return False
    return graph and place == len(content)


def _number(content: bytes, place: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte, the lowest first; and the place behind it."""
    number, shift = 0, 0
    while True:
        number |= (content[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if content[place - 1] < 128 or shift > 63:
            return number, place


@cache
def the_core() -> Any:
    """The one `Core` of this process, which its engines share and which is never let go.

    Each new one replaces the thread's stack for signals, and when it is destroyed gives back the one it
    found. Of two that are destroyed in the order they came, the second gives back what the first has
    unmapped, and the next Ctrl-C, or the end of any child, kills the process without a word.
    """
    import openvino

    return openvino.Core()


_FACTS = ("layerType", "runtimePrecision", "primitiveType")
"""What the plugin tells of each step."""
_NO_STEPS = ("Input", "Output", "Const", "Parameter", "Result", "")
_TYPES = {"f32": "float32", "f16": "float16", "u8": "uint8", "i8": "int8", "i32": "int32"}


def _text(facts: Any, key: str) -> str:
    if key not in facts:
        return ""
    value = facts[key]
    return value.astype(str) if hasattr(value, "astype") else str(value)


def _documents(model: Any, path: Path) -> tuple[Description, Interface]:
    """The description and the interface from `rt_info`: of an IR, or of an ONNX file that was read."""
    found: list[str | None] = []
    for key in (METADATA_KEY, INTERFACE_KEY):
        place = next((place for place in ([key], ["framework", key]) if model.has_rt_info(place)), None)
        found.append(model.get_rt_info(place).astype(str) if place else None)
    return read_documents(found[0], found[1], str(path))
