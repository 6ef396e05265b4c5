"""A network of any library in an ONNX file that says nothing about itself: arrays in, arrays out.

In bfloat16 it is run by OpenVINO, with matrix instructions about twice as fast as in float32 by ONNX
Runtime, which comes with the base install.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.onnxruntime import open_session
from hswish.spec.artifact import METADATA_KEY, Description
from hswish.spec.errors import ModelFileError, OptionError

SUFFIX = ".onnx"
_Infer = Callable[[NDArray[np.float32]], NDArray[Any]]


def is_foreign(path: str | Path) -> bool:
    """Whether a file, by its ending, is one for `ForeignEngine`."""
    return Path(path).suffix.lower() == SUFFIX


class ForeignEngine:
    """Runs a network with one input (N, C, H, W) and logits (N, K) or (N, K, h, w), for any N.

    Args:
        path: the file, for messages.
        description: what the file does not say.
        infer: the runtime's answer to a batch.
        name: of the runtime.
    """

    suffixes: tuple[str, ...] = (SUFFIX,)

    def __init__(self, path: Path, description: Description, infer: _Infer, name: str) -> None:
        self.path, self.description, self._infer, self.name = path, description, infer, name

    @classmethod
    def open(
        cls, path: Path, threads: int | None = None, *, description: Description | None = None, halves: bool = False
    ) -> ForeignEngine:
        """Open an `.onnx` file.

        Args:
            threads: processor threads; as many as the runtime likes by default.
            description: of the network; required.
            halves: compute in bfloat16 where OpenVINO is installed and knows the network's operators.

        Raises:
            ModelFileError: missing, damaged, without a description, or with one of its own.
            OptionError: several inputs or outputs, or a fixed number of pictures.
            MissingPackageError: ONNX Runtime is not installed.
        """
        if not path.is_file():
            raise ModelFileError(f"{path}: no such model file")
        if description is None:
            raise ModelFileError(f"{path}: says nothing about its classes and pictures")
        infer = _by_onnxruntime(path, threads)
        if halves and find_spec("openvino") is not None:
            with suppress(RuntimeError):  # it knows fewer operators
                return cls(path, description, _by_openvino(path, threads), "openvino")
        return cls(path, description, infer, "onnxruntime")

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a normalised batch (N, C, H, W): (N, K), or (N, K, h, w) in any resolution for masks.

        Raises:
            OptionError: it does not take these pictures, or its answer is of another shape.
        """
        try:
            answer = np.asarray(self._infer(np.ascontiguousarray(batch)))
        except Exception as error:  # each runtime has its own for what does not fit
            reason = " ".join(str(error).split())[:200]
            raise OptionError(f"{self.path}: does not take pictures of the shape {batch.shape} ({reason})") from error
        wanted, masks = (len(batch), len(self.description.classes)), self.description.task == "segmentation"
        if answer.shape[:2] != wanted or answer.ndim != (4 if masks else 2):
            form = f"({wanted[0]}, {wanted[1]}{', H, W' if masks else ''})"
            raise OptionError(f"{self.path}: gives {answer.shape} where logits {form} are expected")
        return answer.astype(np.float32, copy=False)


def _by_onnxruntime(path: Path, threads: int | None) -> _Infer:
    session, stored = open_session(path, threads, spins=False)  # between two calls the cores are torch's
    if METADATA_KEY in stored:
        raise ModelFileError(f"{path}: an export of hswish; give the .safetensors model that it was made from")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        found = f"{len(inputs)} inputs and {len(outputs)} outputs"
        raise OptionError(f"{path}: has {found}; export the network with its pictures in and its logits out alone")
    (entry,) = inputs
    if len(entry.shape) != 4 or entry.type != "tensor(float)":
        raise OptionError(f"{path}: takes {entry.type} {entry.shape}; pictures (N, C, H, W) in float32 are expected")
    if isinstance(entry.shape[0], int):
        raise OptionError(f"{path}: takes {entry.shape[0]} pictures at once; export it with a dynamic batch axis")

    def infer(batch: NDArray[np.float32]) -> NDArray[Any]:
        (answer,) = session.run(None, {entry.name: batch})
        return np.asarray(answer)

    return infer


def _by_openvino(path: Path, threads: int | None) -> _Infer:
    from hswish.runtime.openvino import the_core

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = the_core().compile_model(the_core().read_model(str(path)), "CPU", settings)
    return lambda batch: np.asarray(compiled(batch)[0])
