"""ExecuTorch: `.pte`, lowered to XNNPACK.

ExecuTorch takes programs of `torch.export` only, so the operations are run in torch once more.
The description is a constant method of the program.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.export import graph as g
from hswish.export.job import Job, Writer
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import MissingPackageError
from hswish.spec.interface import INTERFACE_KEY


class ExecuTorchWriter(Writer):
    """Writes `.pte`."""

    name = "executorch"
    suffix = ".pte"
    engine = "executorch"
    why_static = "XNNPACK resizes to one size only (pytorch/executorch#7131); give --size"
    why_no_half = "XNNPACK programs hold float32 weights, or compute in float16 as well"

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        with _quiet():
            try:
                from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
                from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
            except ModuleNotFoundError as error:
                raise MissingPackageError("executorch", "executorch", "exporting to ExecuTorch") from error
            kind = torch.uint8 if job.graph.takes_pixels else torch.float32
            example = torch.zeros(job.graph.input_shape, dtype=kind)
            with torch.no_grad():
                program = torch.export.export(_Network(job.graph).eval(), (example,), strict=False)
            documents = {METADATA_KEY: job.description.to_json(), INTERFACE_KEY: job.interface.to_json()}
            edge = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods=documents,
                compile_config=EdgeCompileConfig(_check_ir_validity=False),
            )
            path.write_bytes(edge.to_executorch().buffer)


class _Network(nn.Module):
    """The graph's operations in torch. With batch norm folded, lowering takes half the time it takes the network."""

    def __init__(self, graph: g.Graph) -> None:
        super().__init__()
        self.graph = graph
        # As tensors: plain numbers would be converted at every run, outside XNNPACK.
        self.register_buffer("three", torch.full((1, 1, 1, 1), 3.0))
        self.register_buffer("sixth", torch.full((1, 1, 1, 1), 1 / 6))
        for index, node in enumerate(graph.nodes):
            for name in ("weight", "bias", "scale", "shift"):
                if hasattr(node, name):
                    self.register_buffer(f"{name}_{index}", torch.from_numpy(getattr(node, name)))

    def forward(self, x: Tensor) -> Tensor:
        values = {g.INPUT: x}
        for index, node in enumerate(self.graph.nodes):
            values[node.name] = self._run(index, node, [values[name] for name in node.inputs])
        return values[self.graph.output]

    def _held(self, index: int, *names: str) -> list[Tensor]:
        return [self.get_buffer(f"{name}_{index}") for name in names]

    def _activation(self, kind: g.ActivationKind, x: Tensor) -> Tensor:
        if kind == "hard_sigmoid":
            return F.relu6(x + self.get_buffer("three")) * self.get_buffer("sixth")
        return _ACTIVATIONS[kind](x)

    def _convolution(self, index: int, node: g.Convolution, x: Tensor) -> Tensor:
        weight, bias = self._held(index, "weight", "bias")
        top, left, bottom, right = node.padding
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        return F.conv2d(x, weight, bias, node.stride, (top, left), node.dilation, node.groups)

    def _run(self, index: int, node: g.Node, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match node:
            case g.Convolution():
                return self._convolution(index, node, x)
            case g.Linear():
                return F.linear(x, *self._held(index, "weight", "bias"))
            case g.Activation():
                return self._activation(node.kind, x)
            case g.GlobalPool():
                return F.adaptive_avg_pool2d(x, 1)
            case g.WindowPool():
                return F.avg_pool2d(x, node.window, node.stride)
            case g.Add():
                return x + inputs[1]
            case g.Multiply():
                return x * inputs[1]
            case g.Concat():
                return torch.cat(inputs, 1)
            case g.Flatten():
                return x.flatten(1)
            case g.Resize():
                size = list(node.shape[2:])
                return F.interpolate(x, size=size, mode="bilinear", align_corners=node.align_corners)
            case g.FromPixels():
                scale, shift = self._held(index, "scale", "shift")
                return x.permute(0, 3, 1, 2).to(torch.float32) * scale.reshape(1, 3, 1, 1) + shift.reshape(1, 3, 1, 1)
            case g.ArgMax():
                return x.argmax(1).to(torch.uint8)
            case _:
                raise AssertionError(node)


_ACTIVATIONS: dict[g.ActivationKind, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "hard_swish": F.hardswish,
}


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
