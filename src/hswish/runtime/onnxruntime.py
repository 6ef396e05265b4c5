"""ONNX Runtime: runs `.onnx` files, and comes with the base install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.exported import ExportedEngine, Operator, count_operators, not_importable, refused
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.interface import INTERFACE_KEY, read_documents

_LACKS = r"No Op registered for (\S+)|error: (\S+) is not a registered|find an implementation for (\w+)"


class OnnxRuntimeEngine(ExportedEngine):
    """Runs a `.onnx` file on the processor."""

    name = "onnxruntime"
    suffixes = (".onnx",)
    _session: Any

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> OnnxRuntimeEngine:
        """See `ExportedEngine.open`."""
        session, stored = open_session(path, threads)
        documents = read_documents(stored.get(METADATA_KEY), stored.get(INTERFACE_KEY), str(path))
        engine = cls(path, *documents)
        engine._session = session
        return engine

    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        (entry,) = self._session.get_inputs()
        (answer,) = self._session.run(None, {entry.name: batch})
        return answer

    def operators(self) -> tuple[Operator, ...]:
        """Steps of the graph as ONNX Runtime optimised it, every one in its own CPU kernel."""
        import json
        import tempfile

        import onnxruntime as ort

        # Only a profile tells what the optimiser made of the graph.
        with tempfile.TemporaryDirectory() as folder:
            options = ort.SessionOptions()
            options.log_severity_level, options.enable_profiling = 4, True
            options.profile_file_prefix = str(Path(folder) / "steps")
            session = ort.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
            (entry,) = session.get_inputs()
            shape = [size if isinstance(size, int) else 1 if axis == 0 else 64 for axis, size in enumerate(entry.shape)]
            kind = np.uint8 if self.interface.takes == "pixels" else np.float32
            session.run(None, {entry.name: np.zeros(shape, kind)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        steps = [
            (event["args"]["op_name"], _dtype(event["args"]), event["args"].get("provider") == "CPUExecutionProvider")
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        ]
        return count_operators(steps)


def open_session(path: Path, threads: int | None = None, *, spins: bool = True) -> tuple[Any, dict[str, str]]:
    """ONNX Runtime's session of any `.onnx` file, and the metadata in it.

    Args:
        spins: its threads wait for the next call at work, which is quicker where no one else wants the cores.

    Raises:
        ModelFileError: not such a file, damaged, or with an operator that the runtime lacks.
        MissingPackageError: the runtime is not installed.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise not_importable(error, "onnxruntime", "onnx", f"opening {path}") from error
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    if threads is not None:
        options.intra_op_num_threads = threads
    if not spins:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime has an exception of its own for each kind of damage
        damaged = "not an .onnx model, or a damaged one; export it again"
        raise refused(path, "onnxruntime", error, _LACKS, damaged) from error


def _dtype(arguments: dict[str, Any]) -> str:
    """Type of a step's first output, as the profile spells it: `[{"float": [1, 16, 8, 8]}]`."""
    outputs = arguments.get("output_type_shape") or [{}]
    name = next(iter(outputs[0]), "")
    return {"float": "float32"}.get(name, name)
