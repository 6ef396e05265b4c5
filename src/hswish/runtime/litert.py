"""LiteRT (TensorFlow Lite): runs `.tflite` files, whose pictures are channels last."""

from __future__ import annotations

import ctypes
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.exported import ExportedEngine, Operator, count_operators, not_importable, refused
from hswish.runtime.hushed import hushed
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import INTERFACE_KEY, read_documents

_IDENTIFIER = b"TFL3"
_LACKS = r"builtin_code out of range: (\d+)|unresolved custom op: (\w+)|find op for builtin opcode '(\w+)'"
_DELEGATE = "DELEGATE"
"""what the interpreter calls the part of the graph that XNNPACK runs"""


class LiteRtEngine(ExportedEngine):
    """Runs a `.tflite` file on the processor, by XNNPACK."""

    name = "litert"
    suffixes = (".tflite",)
    lends = True
    _interpreter: Any

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> LiteRtEngine:
        """See `ExportedEngine.open`."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise not_importable(error, "ai-edge-litert", "litert", f"opening {path}") from error
        content = path.read_bytes()
        if content[4:8] != _IDENTIFIER:  # of a flatbuffer
            raise ModelFileError(f"{path}: not a .tflite model, or a damaged one; export it again")
        try:
            documents = read_documents(*_metadata(content), str(path))
            if not zipfile.is_zipfile(path):  # the class names come last: without them, something was cut off
                raise ValueError("truncated")
            with hushed():  # it tells of each delegate that it makes
                interpreter = Interpreter(model_content=content, num_threads=threads)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError, LookupError, TypeError, struct.error) as error:
            raise refused(path, "ai-edge-litert", error, _LACKS, "a damaged .tflite model; export it again") from error
        engine = cls(path, *documents)
        engine._interpreter = interpreter
        return engine

    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        (entry,), (answer,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if batch.dtype == np.float32:
            self._fill(entry["index"], batch)
        else:
            self._interpreter.set_tensor(entry["index"], batch)
        self._interpreter.invoke()
        made = self._memory(answer["index"])
        return made.transpose(0, 3, 1, 2) if made.ndim == 4 else made

    def _fill(self, index: int, batch: NDArray[np.float32]) -> None:
        """NCHW into the interpreter's own NHWC, plane by plane: a quarter of the time of turning it round whole."""
        memory = self._interpreter.tensor(index)()  # let go at the return: no one may hold it while it runs
        for channel in range(batch.shape[1]):
            memory[..., channel] = batch[:, channel]

    def _memory(self, index: int) -> NDArray[Any]:
        """A tensor as it lies there: the interpreter's own view must be let go before it runs again, this need not."""
        view = self._interpreter.tensor(index)()
        memory = (ctypes.c_char * view.nbytes).from_address(view.ctypes.data)
        memory.owner = self._interpreter  # lives as long as what looks at it
        return np.frombuffer(memory, view.dtype).reshape(view.shape)

    def operators(self) -> tuple[Operator, ...]:
        """The file's operators; those outside the part of the graph that XNNPACK runs are not accelerated."""
        types = {item["index"]: np.dtype(item["dtype"]).name for item in self._interpreter.get_tensor_details()}
        listed = self._interpreter._get_ops_details()  # a delegated step stays listed, beside its delegate
        steps = [step for step in listed if step["op_name"] != _DELEGATE]
        makers = {int(tensor): step["index"] for step in steps for tensor in step["outputs"]}
        inputs = {step["index"]: [int(tensor) for tensor in step["inputs"]] for step in steps}
        inside: set[int] = set()
        for delegate in (step for step in listed if step["op_name"] == _DELEGATE):
            edge = {int(tensor) for tensor in delegate["inputs"]}
            todo = [int(tensor) for tensor in delegate["outputs"]]
            while todo:  # from its outputs back to its inputs
                tensor = todo.pop()
                if tensor not in edge and tensor in makers and makers[tensor] not in inside:
                    inside.add(makers[tensor])
                    todo += inputs[makers[tensor]]
        return count_operators(
            [(step["op_name"], types[int(step["outputs"][0])], step["index"] in inside) for step in steps]
        )


def _metadata(content: bytes) -> tuple[str | None, str | None]:
    """The description and the interface from the model's named entries."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    found = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        data = model.Buffers(entry.Buffer()).DataAsNumpy()
        name = entry.Name().decode()
        if name in (METADATA_KEY, INTERFACE_KEY):
            found[name] = bytes(data).decode()
    return found.get(METADATA_KEY), found.get(INTERFACE_KEY)
