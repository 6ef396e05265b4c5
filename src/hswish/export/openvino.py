"""OpenVINO: an IR of `.xml` and `.bin`, built operation by operation.

Built directly, h-swish and h-sigmoid are the runtime's own operators (from ONNX, h-sigmoid
would arrive as the general HardSigmoid, which its CPU plugin runs more slowly).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hswish.export.bands import enlargement
from hswish.export.job import Job, Writer
from hswish.quantize.places import Scheme
from hswish.runtime.exported import not_importable
from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.interface import INTERFACE_KEY
from hswish.spec.quantized import LEVELS

_ACTIVATIONS = {"relu": "relu", "sigmoid": "sigmoid", "hard_swish": "hswish", "hard_sigmoid": "hsigmoid"}


class OpenVinoWriter(Writer):
    """Writes `.xml` with `.bin` beside it."""

    name = "openvino"
    suffix = ".xml"
    engine = "openvino"
    # Its 5x5 depthwise convolutions take twice as long on bytes, and pooling bytes would turn a map round first.
    # 7 bits as in ONNX Runtime: products of 8-bit weights overflow on x86 without VNNI.
    scheme = Scheme(squeeze="int8", float_first=True, float_gated=True, weight_bits=7)

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        try:
            import openvino as ov
            from openvino import opset13 as ops
        except ImportError as error:
            raise not_importable(error, "openvino", "openvino", "exporting to OpenVINO") from error
        lowering = _Lowering(ov, ops, job)
        model = lowering.model()
        model.set_rt_info(job.description.to_json(), METADATA_KEY)
        model.set_rt_info(job.interface.to_json(), INTERFACE_KEY)
        ov.save_model(model, str(path), compress_to_fp16=job.half)


class _Lowering:
    def __init__(self, ov: Any, ops: Any, job: Job) -> None:
        self.ov, self.ops, self.job, self.net = ov, ops, job, job.quantized
        self.values: dict[str, Any] = {}

    def model(self) -> Any:
        """The whole network."""
        graph = self.job.graph
        kind = np.uint8 if graph.takes_pixels else np.float32
        shape: list[int] = list(graph.input_shape)
        if self.job.dynamic:
            shape = [-1, -1, -1, 3] if graph.takes_pixels else [-1, shape[1], -1, -1]
        entry = self.ops.parameter(self.ov.PartialShape(shape), kind, name=g.INPUT)
        entry.output(0).set_names({g.INPUT})
        self.values[g.INPUT] = self._rounded(g.INPUT, entry)
        for node in graph.nodes:
            made = self._lower(node, [self.values[name] for name in node.inputs])
            made.set_friendly_name(node.name)
            self.values[node.name] = self._rounded(node.name, made)
        result = self.values[graph.output]
        result.output(0).set_names({g.OUTPUT})
        return self.ov.Model([self.ops.result(result)], [entry], self.job.description.model)

    def _lower(self, node: g.Node, inputs: list[Any]) -> Any:
        ops = self.ops
        match node:
            case g.Convolution():
                return self._convolution(node, inputs[0])
            case g.Linear():
                product = ops.matmul(inputs[0], self._weight(node), False, True)
                return ops.add(product, self._constant(node.bias[None]))
            case g.Activation():
                return getattr(ops, _ACTIVATIONS[node.kind])(inputs[0])
            case g.GlobalPool():
                return ops.reduce_mean(inputs[0], self._constant(np.array([2, 3])), True)
            case g.WindowPool():
                return ops.avg_pool(inputs[0], node.stride, [0, 0], [0, 0], node.window, True)
            case g.Add():
                return ops.add(*inputs)
            case g.Multiply():
                return ops.multiply(*inputs)
            case g.Concat():
                return ops.concat(inputs, 1)
            case g.Flatten():
                return ops.reshape(inputs[0], self._constant(np.array([0, -1])), True)
            case g.Resize():
                return self._resize(node, *inputs)
            case g.FromPixels():
                value = ops.transpose(ops.convert(inputs[0], "f32"), self._constant(np.array([0, 3, 1, 2])))
                scaled = ops.multiply(value, self._constant(node.scale.reshape(1, 3, 1, 1)))
                return ops.add(scaled, self._constant(node.shift.reshape(1, 3, 1, 1)))
            case g.Grey():
                whole = ops.floor(self._convolution(node.convolution, inputs[0]))
                return ops.add(ops.multiply(whole, self._constant(node.scale)), self._constant(node.shift))
            case g.ArgMax():
                best = ops.topk(inputs[0], self._constant(np.array(1)), 1, "max", "value", "i32", stable=True)
                flat = ops.squeeze(best.output(1), self._constant(np.array([1])))
                return ops.convert(flat, "u8")
            case _:
                raise AssertionError(node)

    def _convolution(self, node: g.Convolution, source: Any) -> Any:
        top, left, bottom, right = node.padding
        pad = "same_upper" if node.same and self.job.dynamic else "explicit"
        about = ([node.stride] * 2, [top, left], [bottom, right], [node.dilation] * 2, pad)
        if node.groups > 1:
            out, within, side, _ = node.weight.shape
            weight = self._weight(node, (node.groups, out // node.groups, within, side, side))
            value = self.ops.group_convolution(source, weight, *about)
        else:
            value = self.ops.convolution(source, self._weight(node), *about)
        return self.ops.add(value, self._constant(node.bias.reshape(1, -1, 1, 1)))

    def _resize(self, node: g.Resize, source: Any, like: Any) -> Any:
        if self.job.dynamic:
            shape = self.ops.shape_of(like)
            sizes = self.ops.gather(shape, self._constant(np.array([2, 3])), self._constant(np.array(0)))
            return self._interpolated(node, source, sizes)
        how = enlargement(self.job.graph, node)
        if how is None:
            return self._interpolated(node, source, self._constant(np.array(node.shape[2:])))
        ops, constant, weight = self.ops, self._constant, how.across.weight
        laid = ops.gather(source, constant(how.across.taken.reshape(-1)), constant(np.array(3)))
        rows = ops.gather(laid, constant(how.down.taken), constant(np.array(2)))
        tall = ops.matmul(constant(how.down.weight), rows, False, False)
        groups = ops.reshape(tall, constant(np.array([-1, weight.shape[1]])), False)
        return ops.reshape(ops.matmul(groups, constant(weight.T), False, False), constant(np.array(node.shape)), False)

    def _interpolated(self, node: g.Resize, source: Any, sizes: Any) -> Any:
        mode = "align_corners" if node.align_corners else "half_pixel"
        axes = self._constant(np.array([2, 3]))
        return self.ops.interpolate(
            source, sizes, "linear_onnx", "sizes", axes=axes, coordinate_transformation_mode=mode
        )

    def _rounded(self, name: str, value: Any) -> Any:
        """A value as those that read it get it: where it is held in bytes, through the range it is held in."""
        if self.net is None or name not in self.net.values:
            return value
        held = self.net.values[name]
        ends = [self._constant(np.array(end, np.float32)) for end in (held.low, held.high)]
        return self.ops.fake_quantize(value, *ends, *ends, LEVELS + 1)

    def _weight(self, node: g.Convolution | g.Linear, shape: tuple[int, ...] | None = None) -> Any:
        """The weights of a layer, in `shape`; 8-bit ones are stored as such."""
        shape = shape or node.weight.shape
        if self.net is None or node.name not in self.net.scales:
            return self._constant(node.weight.reshape(shape))
        codes = self.net.integers(node.name)
        outputs = 2 if isinstance(node, g.Convolution) and node.groups > 1 else 1  # axes that count output channels
        spread = (*shape[:outputs], *[1] * (len(shape) - outputs))
        wide = self.ops.convert(self._constant(codes.weight.reshape(shape)), "f32")
        return self.ops.multiply(wide, self._constant(codes.scale.reshape(spread)))

    def _constant(self, values: Any) -> Any:
        return self.ops.constant(np.asarray(values, order="C"))
