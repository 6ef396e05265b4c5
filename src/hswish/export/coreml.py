"""Core ML: an ML program in a `.mlpackage`, built operation by operation.

Core ML runs on Apple's systems only: elsewhere the package is converted and read back, and what its
steps compute on real pictures is worked out here (see `coreml_check`) and compared with the network.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hswish.export.coreml_check import UnknownStepError, run_program
from hswish.export.job import Job, Writer
from hswish.runtime.exported import ExportedEngine, not_importable
from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import INTERFACE_KEY, read_documents

_INEXACT = "common::fuse_elementwise_to_batchnorm"
"""A pass that makes a scale and a shift a batch norm, whose epsilon of 1e-5 then makes all pixels a little smaller."""
_WEIGHTS = Path("Data/com.apple.CoreML/weights")
"""where a package keeps them"""


class CoreMlWriter(Writer):
    """Writes `.mlpackage`, a folder."""

    name = "coreml"
    suffix = ".mlpackage"
    engine = None
    why_no_int8 = "nothing on this system runs it, so its accuracy cannot be measured; use --half"
    why_no_int8_weights = "nothing on this system runs it, so it cannot be proved equal; use --half"
    why_static = "the Neural Engine takes fixed sizes only; give --size"

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        with _quiet():
            try:
                import coremltools as ct
                from coremltools.converters.mil import Builder
            except ImportError as error:
                raise not_importable(error, "coremltools", "coreml", "exporting to Core ML") from error
            program = _Program(ct, Builder, job).program()
            precision = ct.precision.FLOAT16 if job.half else ct.precision.FLOAT32
            target = ct.target.iOS17
            inputs = None
            if job.graph.takes_pixels:
                _, height, width, _ = job.graph.input_shape
                layout = ct.colorlayout.RGB
                inputs = [ct.ImageType(name=g.INPUT, shape=(1, 3, height, width), color_layout=layout)]
            passes = ct.PassPipeline.DEFAULT
            passes.remove_passes({_INEXACT})
            model = ct.convert(
                program,
                inputs=inputs,
                pass_pipeline=passes,
                convert_to="mlprogram",
                compute_precision=precision,
                minimum_deployment_target=target,
            )
            model.short_description = f"{job.description.model}: {job.description.task}"
            model.license = str(job.description.provenance.get("licence", ""))
            model.user_defined_metadata[METADATA_KEY] = job.description.to_json()
            model.user_defined_metadata[INTERFACE_KEY] = job.interface.to_json()
            model.user_defined_metadata["classes"] = ",".join(job.description.classes)
            model.save(str(path))
            _check(ct.models.MLModel(str(path), skip_model_load=True).get_spec(), job, path)

    def read_back(self, path: Path) -> ExportedEngine:
        """See `Writer.read_back`."""
        return CoreMlReader.open(path)


class CoreMlReader(ExportedEngine):
    """Works out what a `.mlpackage` computes, from nothing but what stands in it; no engine to predict with."""

    name = "coreml"
    suffixes = (".mlpackage",)
    _program: Any
    _reversed = False
    """the image that it takes is BGR"""

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> CoreMlReader:
        """See `ExportedEngine.open`."""
        with _quiet():
            try:
                import coremltools as ct
                from coremltools.converters.mil.frontend.milproto.load import load
            except ImportError as error:
                raise not_importable(error, "coremltools", "coreml", f"reading {path} back") from error
            spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
            held = spec.description.metadata.userDefined
            engine = cls(path, *read_documents(held.get(METADATA_KEY), held.get(INTERFACE_KEY), str(path)))
            engine._program = load(spec, spec.specificationVersion, str(path / _WEIGHTS))
        (entry,), (answer,) = spec.description.input, spec.description.output
        image = entry.type.WhichOneof("Type") == "imageType"
        if (entry.name, answer.name, image) != (g.INPUT, g.OUTPUT, engine.interface.takes == "pixels"):
            raise ModelFileError(f"{path}: takes or gives something else than was written; report it to hswish")
        if image:
            engine._reversed = entry.type.imageType.colorSpace != entry.type.imageType.RGB
        return engine

    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        if self.interface.takes == "pixels":  # as Core ML hands an image on
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)[:, :: -1 if self._reversed else 1], np.float32)
        try:
            with torch.inference_mode():
                return run_program(self._program, torch.from_numpy(batch)).numpy()
        except UnknownStepError as error:
            raise ModelFileError(f"{self.path}: the converter made a step {error}; report it to hswish") from None


class _Program:
    """The network in Core ML's intermediate language."""

    def __init__(self, ct: Any, builder: Any, job: Job) -> None:
        self.ct, self.mb, self.job = ct, builder, job

    def program(self) -> Any:
        """The whole network as one function."""
        graph, mb = self.job.graph, self.mb
        shape = graph.input_shape
        if graph.takes_pixels:  # an image of Core ML arrives as planes
            shape = (1, 3, shape[1], shape[2])

        @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=self.ct.target.iOS17)
        def network(input: Any) -> Any:  # the builder takes the input's name from ours
            values = {g.INPUT: input}
            for node in graph.nodes:
                name = g.OUTPUT if node.name == graph.output else node.name.replace(".", "_")
                values[node.name] = self._lower(node, [values[key] for key in node.inputs], name)
            return values[graph.output]

        return network

    def _lower(self, node: g.Node, inputs: list[Any], name: str) -> Any:
        mb = self.mb
        match node:
            case g.Convolution():
                top, left, bottom, right = node.padding
                return mb.conv(
                    x=inputs[0], weight=node.weight, bias=node.bias, strides=[node.stride] * 2,
                    dilations=[node.dilation] * 2, groups=node.groups, pad_type="custom",
                    pad=[top, bottom, left, right], name=name,
                )  # fmt: skip
            case g.Linear():
                return mb.linear(x=inputs[0], weight=node.weight, bias=node.bias, name=name)
            case g.Activation():
                return self._activation(node.kind, inputs[0], name)
            case g.GlobalPool():
                return mb.reduce_mean(x=inputs[0], axes=[2, 3], keep_dims=True, name=name)
            case g.WindowPool():
                return mb.avg_pool(
                    x=inputs[0], kernel_sizes=list(node.window), strides=list(node.stride), pad_type="valid", name=name
                )
            case g.Add():
                return mb.add(x=inputs[0], y=inputs[1], name=name)
            case g.Multiply():
                return mb.mul(x=inputs[0], y=inputs[1], name=name)
            case g.Concat():
                return mb.concat(values=inputs, axis=1, name=name)
            case g.Flatten():
                return mb.reshape(x=inputs[0], shape=list(node.shape), name=name)
            case g.Resize():
                height, width = node.shape[2:]
                mode = "STRICT_ALIGN_CORNERS" if node.align_corners else "UNALIGN_CORNERS"
                return mb.resize_bilinear(
                    x=inputs[0], target_size_height=height, target_size_width=width, sampling_mode=mode, name=name
                )
            case g.FromPixels():
                scaled = mb.mul(x=inputs[0], y=node.scale.reshape(1, 3, 1, 1))
                return mb.add(x=scaled, y=node.shift.reshape(1, 3, 1, 1), name=name)
            case g.Grey():
                whole = mb.floor(x=mb.conv(x=inputs[0], weight=node.weight, bias=node.bias))
                return mb.add(x=mb.mul(x=whole, y=node.scale[0]), y=node.shift[0], name=name)
            case g.ArgMax():  # the format has no bytes as output
                return mb.reduce_argmax(x=inputs[0], axis=1, keep_dims=False, name=name)
            case _:
                raise AssertionError(node)

    def _activation(self, kind: g.ActivationKind, x: Any, name: str) -> Any:
        mb = self.mb
        if kind == "hard_swish":
            return mb.mul(x=x, y=mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5), name=name)
        if kind == "hard_sigmoid":
            return mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5, name=name)
        return (mb.relu if kind == "relu" else mb.sigmoid)(x=x, name=name)


def _check(spec: Any, job: Job, path: Path) -> None:
    """Count the saved package's operations: each of the network's is to be one of the format's own.

    What they compute, weights and all, is compared on pictures afterwards (`CoreMlReader`).

    Raises:
        ModelFileError: the converter took one apart, or left one out.
    """
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    found = Counter(operation.type for operation in block.operations)
    kinds = Counter(node.kind for node in job.graph.nodes if isinstance(node, g.Activation))
    counts = job.graph.counts()
    wanted = {
        "conv": counts.get("Convolution", 0) + counts.get("Grey", 0),
        "linear": counts.get("Linear", 0),
        "sigmoid_hard": kinds["hard_swish"] + kinds["hard_sigmoid"],
        "relu": kinds["relu"],
        "reduce_mean": counts.get("GlobalPool", 0),
        "resize_bilinear": sum(isinstance(node, g.Resize) and _resizes(node, job.graph) for node in job.graph.nodes),
        "concat": counts.get("Concat", 0),
    }
    wrong = [f"{found[kind]} {kind} for {count}" for kind, count in wanted.items() if found[kind] != count]
    if wrong:
        raise ModelFileError(f"{path}: the converter changed the network ({', '.join(wrong)}); report it to hswish")


def _resizes(node: g.Resize, graph: g.Graph) -> bool:
    """Whether the size changes: at output stride 8 the head's does not, and the converter drops the step."""
    return graph.shape(node.inputs[0])[2:] != node.shape[2:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and words about versions of other frameworks."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
