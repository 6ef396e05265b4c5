"""Our own engine's file: `.int8.safetensors` (`hswish.spec.quantized_file`). In float32 the model file itself is it."""

from __future__ import annotations

from pathlib import Path

from hswish.export.job import Job, Writer
from hswish.models.checkpoint import save
from hswish.quantize.places import Scheme
from hswish.runtime.native.library import is_present
from hswish.spec.quantized_file import write_quantized


class NativeWriter(Writer):
    """Writes `.int8.safetensors`."""

    name = "native"
    suffix = ".safetensors"
    scheme = Scheme()
    why_static = "its buffers are laid out for one size; give --size"
    why_only_int8 = "in float32 the model file itself is what our engine opens; add --int8"
    why_no_pixels = "our engine normalises by itself"
    why_no_mask = "our engine chooses the classes by itself"
    why_no_int8_weights = "its kernels multiply bytes; use --int8"

    def __init__(self) -> None:
        self.engine = "native" if is_present() else None

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        if job.quantized is None:  # what 8 bits are compared with
            return save(job.model, path)
        return write_quantized(path, job.quantized, job.description, job.interface)
