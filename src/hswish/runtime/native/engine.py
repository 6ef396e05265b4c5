"""The native engine behind `Predictor`: plans of one network, one for each input size."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.exported import Operator, count_operators
from hswish.runtime.native.compile import Compiled, compile_plan
from hswish.runtime.native.compile_int8 import compile_int8
from hswish.runtime.native.library import choose_level, library
from hswish.spec.artifact import Description, read_description, read_header
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.interface import Interface
from hswish.spec.quantized_file import QUANTIZED_KEY, SUFFIX, read_quantized

_MOST_SIZES = 8
"""Input sizes whose plans are kept; the one not used for longest goes first."""
_MOST_BYTES = 2**30
"""Memory of the plans that are kept, beside the newest."""
_MOST_THREADS = 256


class NativeEngine:
    """Runs a network from a `.safetensors` file with hswish's own kernels; may be shared by threads.

    A file of floats is computed in float32, one that `hswish export --int8` has written in 8 bits.

    Args:
        path: the model file.
        threads: processor threads; by default as many as this process may use.

    Raises:
        ModelFileError: the file is no model, damaged, or contradicts itself.
        NativeAbsentError: this install has no compiled engine.
        OptionError: `threads` or `HSWISH_NATIVE_LEVEL` is out of range.
    """

    suffixes: tuple[str, ...] = (".safetensors", SUFFIX)

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        engine = library(f"opening {path} with the native engine")
        if threads is not None and not 1 <= threads <= _MOST_THREADS:
            raise OptionError(f"threads must be 1 to {_MOST_THREADS}, not {threads}")
        self.threads = threads or min(len(os.sched_getaffinity(0)), _MOST_THREADS)
        self.level = choose_level(engine)
        """the instruction set in use"""
        self._description = read_description(path)
        self._path = path
        options = self._description.architecture().options
        self._channels, self._classes = options.in_channels, options.num_classes
        try:
            compiled = self._compiled(engine)
        except (MemoryError, RuntimeError) as error:
            raise ModelFileError(f"{path}: the native engine cannot be set up ({error or 'out of memory'})") from error
        self._built, self.steps = compiled.plan, tuple(compiled.steps)
        """names of the plan's steps in their order, for profiles"""
        self._table = _byte_values(self._description)
        self._plans: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def _compiled(self, engine: Any) -> Compiled:
        arch = self._description.architecture()
        if QUANTIZED_KEY not in read_header(self._path).get("__metadata__", {}):
            self.interface = Interface()
            return compile_plan(self._path, arch, engine, self.level, self.threads)
        net, _, _ = read_quantized(self._path)
        self.interface = Interface(precision="int8")
        return compile_int8(self._path, arch, net, engine, self.level, self.threads)

    @property
    def description(self) -> Description:
        return self._description

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> NativeEngine:
        """See the class."""
        return cls(path, threads)

    @property
    def takes_pictures(self) -> bool:
        """Whether `run_pictures` and `run_masks` can be used: the network sees what `preprocess` makes."""
        return len(self._table) == self._channels

    def operators(self) -> tuple[Operator, ...]:
        """The plan's steps by kind and type."""
        kinds: list[str] = self._built.kinds
        return count_operators(
            [(kind.removeprefix("int8 "), "int8" if kind.startswith("int8 ") else "float32", True) for kind in kinds]
        )

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a normalised batch (N, C, H, W): (N, K), or (N, K, H, W) for masks.

        Raises:
            OptionError: another shape, or too large for the memory there is.
        """
        batch = np.ascontiguousarray(batch, np.float32)
        if batch.ndim != 4 or batch.shape[1] != self._channels:
            raise OptionError(f"{self._path}: takes (N, {self._channels}, H, W), not {batch.shape}")
        plan = self.plan(*batch.shape[2:])
        out = self._logits(len(batch), *batch.shape[2:])
        plan.run(batch, out)
        return out

    def run_pictures(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of resized pictures (N, H, W, C), channels as `preprocess.ordered` gives them.

        The same as `run` on what `preprocess.normalise` makes of each, without making it.

        Raises:
            OptionError: another shape, or too large for the memory there is.
        """
        pixels = self._pixels(pixels)
        out = self._logits(*pixels.shape[:3])
        self.plan(*pixels.shape[1:3]).run(pixels, out, self._table)
        return out

    def run_masks(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The most likely class of each pixel, (N, H, W), of resized pictures (N, H, W, C).

        The logits of the whole picture are never stored.

        Raises:
            ModelFileError: the scores are not finite numbers.
            OptionError: not a network that makes masks, another shape, or too large.
        """
        if self._description.task != "segmentation":
            raise OptionError(f"{self._path}: labels whole pictures and makes no masks")
        pixels = self._pixels(pixels)
        masks = np.empty(pixels.shape[:3], np.uint8)
        if not self.plan(*pixels.shape[1:3]).run(pixels, masks, self._table):
            raise ModelFileError(
                f"{self._path}: its outputs are not finite numbers; the weights are damaged, or training diverged "
                "(train again with a lower learning rate)"
            )
        return masks

    def plan(self, height: int, width: int) -> Any:
        """The compiled plan for pictures of (height, width) pixels; made on first use.

        Raises:
            OptionError: an empty picture, or one too large.
        """
        with self._lock:
            plan = self._plans.pop((height, width), None)
            if plan is None:
                try:
                    plan = self._built.at(height, width)
                except (ValueError, MemoryError) as error:
                    reason = "out of memory" if isinstance(error, MemoryError) else error
                    raise OptionError(f"{self._path}: cannot run on {height}x{width} pixels ({reason})") from error
            self._plans[height, width] = plan
            while len(self._plans) > 1 and (len(self._plans) > _MOST_SIZES or self._kept_bytes() > _MOST_BYTES):
                self._plans.popitem(last=False)
            return plan

    def _kept_bytes(self) -> int:
        return sum(plan.arena_bytes for plan in self._plans.values())

    def _pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        pixels = np.ascontiguousarray(pixels)
        if pixels.ndim != 4 or pixels.shape[3] != self._channels or pixels.dtype != np.uint8:
            raise OptionError(
                f"{self._path}: takes uint8 (N, H, W, {self._channels}), not {pixels.dtype} {pixels.shape}"
            )
        if not self.takes_pictures:
            raise OptionError(f"{self._path}: its {self._channels} channels are no picture's; use run")
        return pixels

    def _logits(self, count: int, height: int, width: int) -> NDArray[np.float32]:
        masks = self._description.task == "segmentation"
        return np.empty((count, self._classes, height, width) if masks else (count, self._classes), np.float32)


def _byte_values(description: Description) -> NDArray[np.float32]:
    """What each byte of a picture is to the network: (C, 256)."""
    return np.ascontiguousarray(description.preprocess.byte_values())
