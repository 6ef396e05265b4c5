"""ExecuTorch: `.pte`, lowered to XNNPACK.

ExecuTorch takes programs of `torch.export` only, so the operations are run in torch once more.
The description is a constant method of the program.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from hswish.export.executorch_network import ExecuTorchNetwork
from hswish.export.job import Job, Writer
from hswish.quantize.places import Scheme
from hswish.runtime.exported import not_importable
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.interface import INTERFACE_KEY


class ExecuTorchWriter(Writer):
    """Writes `.pte`."""

    name = "executorch"
    suffix = ".pte"
    engine = "executorch"
    why_static = "its memory is planned for one size when the file is written; give --size"
    # Bytes stand between a convolution and its h-swish, and XNNPACK's layers on bytes give bytes only.
    scheme = Scheme(
        fused=frozenset(("relu",)),
        fused_add=False,
        float_results=False,
        rounds_scores=True,
        float_first=True,
        float_gated=True,
        one_range=True,
        squeeze="int8",
        weights_alone=False,
    )
    why_no_int8_weights = "its programs have no step that widens weights for float32 layers"
    why_no_half = "XNNPACK programs hold float32 weights, or compute in float16 as well"

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        with _quiet():
            try:
                from hswish.export.executorch_lowering import lowered
            except ImportError as error:
                raise not_importable(error, "executorch", "executorch", "exporting to ExecuTorch") from error
            kind = torch.uint8 if job.graph.takes_pixels else torch.float32
            example = torch.zeros(job.graph.input_shape, dtype=kind)
            with torch.no_grad():
                program = torch.export.export(_network(job).eval(), (example,), strict=False)
            documents = {METADATA_KEY: job.description.to_json(), INTERFACE_KEY: job.interface.to_json()}
            path.write_bytes(lowered(program, documents))


def _network(job: Job) -> ExecuTorchNetwork:
    """What is lowered."""
    if job.quantized is None:
        return ExecuTorchNetwork(job.graph)
    from hswish.export.executorch_int8 import QuantizedNetwork

    return QuantizedNetwork(job.quantized)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the words that its libraries have for their own programmers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
