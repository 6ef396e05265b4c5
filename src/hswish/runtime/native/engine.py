"""The native engine behind `Predictor`: plans of one network, one for each input size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.engine import MOST_THREADS
from hswish.runtime.exported import Operator, count_operators
from hswish.runtime.native.answers import Answers
from hswish.runtime.native.compile import Compiled, compile_plan
from hswish.runtime.native.compile_int8 import compile_int8
from hswish.runtime.native.library import choose_level, library
from hswish.spec.artifact import Description, read_description, read_header
from hswish.spec.cores import available_cores
from hswish.spec.errors import ModelFileError, OptionError, unknown_name
from hswish.spec.interface import Interface
from hswish.spec.quantized_file import QUANTIZED_KEY, SUFFIX, read_quantized

_MOST_SIZES = 8
"""Input sizes whose plans are kept; the one not used for longest goes first."""
_MOST_BYTES = 2**30
"""Memory of the plans that are kept, beside the newest."""


class NativeEngine:
    """Runs a network from a `.safetensors` file with hswish's own kernels; may be shared by threads.

    A file of floats is computed in float32, one that `hswish export --int8` has written in 8 bits.

    Args:
        path: the model file.
        threads: processor threads; by default as many as this process may use.
        precision: `bfloat16` stores maps and weights of a file of floats in half the memory and multiplies them at
            twice the speed, with the answers that this costs (docs/native.md). Sums stay in float32.

    Raises:
        ModelFileError: the file is no model, damaged, or contradicts itself.
        NativeAbsentError: this install has no compiled engine.
        OptionError: `threads`, `precision` or `HSWISH_NATIVE_LEVEL` is out of range, or the processor does not
            multiply bfloat16.
    """

    suffixes: tuple[str, ...] = (".safetensors", SUFFIX)
    precisions: tuple[str, ...] = ("float32", "bfloat16")

    def __init__(self, path: str | Path, threads: int | None = None, precision: str | None = None) -> None:
        engine = library(f"opening {path} with the native engine")
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise OptionError(f"threads must be 1 to {MOST_THREADS}, not {threads}")
        self.threads = threads or min(available_cores(), MOST_THREADS)
        self.level = choose_level(engine)
        """the instruction set in use"""
        self.precision = self._checked(engine, path, precision)
        """what it computes in: one of `precisions`, or `int8`"""
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
        self._answers = Answers()

    def _checked(self, engine: Any, path: str | Path, precision: str | None) -> str:
        """The precision to compute in."""
        if QUANTIZED_KEY in read_header(path).get("__metadata__", {}):
            if precision is not None:
                raise OptionError(f"{path}: is in 8 bits and computed so; a precision is for files of floats")
            return "int8"
        if precision not in (None, *self.precisions):
            raise unknown_name("precision", precision, self.precisions)
        if precision == "bfloat16" and not engine.multiplies_halves(self.level):
            raise OptionError(
                f"{path}: bfloat16 needs a processor that multiplies it (AVX-512 with VNNI, VBMI and BF16: Zen 4, "
                f"Sapphire Rapids and later), and {self.level} is in use here; leave the precision out for float32"
            )
        return precision or "float32"

    def _compiled(self, engine: Any) -> Compiled:
        arch = self._description.architecture()
        if self.precision != "int8":
            self.interface = Interface()
            halves = self.precision == "bfloat16"
            return compile_plan(self._path, arch, engine, self.level, self.threads, halves)
        net, _, _ = read_quantized(self._path)
        self.interface = Interface(precision="int8")
        return compile_int8(self._path, arch, net, engine, self.level, self.threads)

    @property
    def description(self) -> Description:
        return self._description

    @classmethod
    def open(cls, path: Path, threads: int | None = None, precision: str | None = None) -> NativeEngine:
        """See the class."""
        return cls(path, threads, precision)

    @property
    def takes_pictures(self) -> bool:
        """Whether `run_pictures` and `run_masks` can be used: the network sees what `preprocess` makes."""
        return len(self._table) == self._channels

    def operators(self) -> tuple[Operator, ...]:
        """The plan's steps by kind and type."""
        types = {"int8 ": "int8", "bf16 ": "bfloat16"}
        found = [next((prefix for prefix in types if kind.startswith(prefix)), "") for kind in self._built.kinds]
        return count_operators(
            [
                (kind.removeprefix(prefix), types.get(prefix, "float32"), True)
                for kind, prefix in zip(self._built.kinds, found, strict=True)
            ]
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
        return self._answers.array((count, self._classes, height, width) if masks else (count, self._classes))


def _byte_values(description: Description) -> NDArray[np.float32]:
    """What each byte of a picture is to the network: (C, 256)."""
    return np.ascontiguousarray(description.preprocess.byte_values())
