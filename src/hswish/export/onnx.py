"""ONNX: one node of the standard an operation, batch norm folded.

torch's own exporter writes global pooling as ReduceMean and bakes sizes into Resize unless told
otherwise; written directly, h-swish, h-sigmoid and pooling are the standard's own operators, the
graph is as short as it can be, and a padding of "same" stays one attribute at any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.export.bands import Enlargement, enlargement
from hswish.export.job import Job, Writer
from hswish.quantize.places import Scheme
from hswish.quantize.splitting import factors, six
from hswish.runtime.exported import not_importable
from hswish.spec import graph as g
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.interface import INTERFACE_KEY
from hswish.spec.quantized import IntegerWeights, Range

OPSET = 17
_IR_VERSION = 8
"""the oldest that carries opset 17, so that old runtimes open the file"""
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "hard_swish": "HardSwish", "hard_sigmoid": "HardSigmoid"}


class OnnxWriter(Writer):
    """Writes `.onnx`."""

    name = "onnx"
    suffix = ".onnx"
    engine = "onnxruntime"
    # Bytes stand between a convolution and its h-swish. To change to float32 and back is slow: only where it pays most.
    # Nobody knows where the file will run, and on x86 without VNNI products of 8-bit weights overflow.
    scheme = Scheme(
        fused=frozenset(("relu", "hard_sigmoid")),
        fused_add=False,
        squeeze="int8",
        float_first=True,
        rounds_scores=True,
        weight_bits=7,
    )
    channel_multiple = 16

    def write(self, job: Job, path: Path) -> None:
        """See `Writer.write`."""
        try:
            import onnx
        except ImportError as error:
            raise not_importable(error, "onnx", "onnx", "exporting to ONNX") from error
        model = _Model(onnx, job)
        proto = model.finish()
        onnx.checker.check_model(proto, full_check=True)
        path.write_bytes(proto.SerializeToString())


class _Model:
    """The lists that an ONNX model consists of, while they grow."""

    def __init__(self, onnx: Any, job: Job) -> None:
        self.onnx, self.job, self.graph, self.net = onnx, job, job.graph, job.quantized
        self.factors = factors(self.net) if self.net is not None else {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[str, str] = {g.INPUT: self._rounded(g.INPUT, g.INPUT)}  # what readers of a value read
        for node, fused, name in self.graph.fused():
            self._lower_step(node, fused, name)

    def finish(self) -> Any:
        """The whole model, description included."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        given = types.UINT8 if self.graph.takes_pixels else types.FLOAT
        made = types.UINT8 if self.graph.gives_mask else types.FLOAT
        self.nodes[-1].output[0] = g.OUTPUT  # never rounded, so the last step makes it
        graph = helper.make_graph(
            self.nodes,
            self.job.description.model,
            [helper.make_tensor_value_info(g.INPUT, given, self._shape(self.graph.input_shape, self._input_axes()))],
            [helper.make_tensor_value_info(g.OUTPUT, made, self._shape(self.graph.output_shape, self._output_axes()))],
            self.constants,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, producer_name="hswish", opset_imports=[opset], ir_version=_IR_VERSION)
        helper.set_model_props(
            model,
            {METADATA_KEY: self.job.description.to_json(), INTERFACE_KEY: self.job.interface.to_json()},
        )
        return model

    def _input_axes(self) -> tuple[str, ...]:
        return ("batch", "height", "width", "") if self.graph.takes_pixels else ("batch", "", "height", "width")

    def _output_axes(self) -> tuple[str, ...]:
        return {2: ("batch", ""), 3: ("batch", "height", "width"), 4: ("batch", "", "height", "width")}[
            len(self.graph.output_shape)
        ]

    def _shape(self, sizes: tuple[int, ...], axes: tuple[str, ...]) -> list[int | str]:
        if not self.job.dynamic:
            return list(sizes)
        return [axis or size for size, axis in zip(sizes, axes, strict=True)]

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def _weight(self, name: str, values: NDArray[np.float32]) -> str:
        """A matrix of weights; stored as float16 where asked, and widened once when the file is opened."""
        if not self.job.half:
            return self._constant(name, values)
        stored = self._constant(f"{name}.half", values.astype(np.float16))
        return self._step("Cast", [stored], name, to=self.onnx.TensorProto.FLOAT)

    def _step(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _lower_step(self, node: g.Node, fused: g.ActivationKind | None, name: str) -> None:
        """Append what computes `node` and the activation after it; the result is called `name`."""
        net, gate = self.net, False
        if net is not None and fused == "hard_sigmoid" and node.name in net.scales and name in net.values:
            gate = net.computes_in_integers(node.name) and node.name not in net.values
        self._lower(node, name if gate else node.name, gate)
        if fused is not None and not gate:
            self._lower(self.graph[name], name)

    def _lower(self, node: g.Node, name: str, gate: bool = False) -> None:
        """Append what computes `node`, rounded where the value `name` is; of a gate, (x + 3) / 6."""
        self._compute(node, name, [self.names[value] for value in node.inputs], gate)
        self.names[name] = self._rounded(name, name)

    def _rounded(self, name: str, value: str) -> str:
        """What readers of a value read: where it is held in bytes, what they stand for."""
        if self.net is None or name not in self.net.values:
            return value
        held = self.net.values[name]
        return self._through_bytes(
            name, Range(scale=held.scale * self.factors.get(name, 1.0), zero_point=held.zero_point)
        )

    def _through_bytes(self, value: str, held: Range) -> str:
        scale = self._constant(f"{value}.scale", np.array(held.scale, np.float32))
        zero = self._constant(f"{value}.zero", np.array(held.zero_point, np.uint8))
        codes = self._step("QuantizeLinear", [value, scale, zero], f"{value}.codes")
        return self._step("DequantizeLinear", [codes, scale, zero], f"{value}.real")

    def _compute(self, node: g.Node, name: str, inputs: list[str], gate: bool) -> None:
        match node:
            case g.Convolution():
                self._convolution(node, name, inputs, gate)
            case g.Linear():
                self._step("Gemm", [*inputs, *self._weights(node, gate)], name, transB=1)
            case g.Activation() if name in self.factors:
                self._split(name, node.inputs[0])
            case g.Activation():
                attributes = {"alpha": 1 / 6, "beta": 0.5} if node.kind == "hard_sigmoid" else {}
                self._step(_ACTIVATIONS[node.kind], inputs, name, **attributes)
            case g.GlobalPool():
                self._step("GlobalAveragePool", inputs, name)
            case g.WindowPool():
                self._step("AveragePool", inputs, name, kernel_shape=node.window, strides=node.stride)
            case g.Add():
                self._step("Add", inputs, name)
            case g.Multiply():
                self._step("Mul", inputs, name)
            case g.Concat():
                self._step("Concat", inputs, name, axis=1)
            case g.Flatten():
                self._step("Flatten", inputs, name, axis=1)
            case g.Resize():
                self._resize(node, inputs)
            case g.FromPixels():
                self._from_pixels(node)
            case g.Grey():
                self._convolution(node.convolution, node.convolution.name, inputs, gate=False)
                value = self._step("Floor", [node.convolution.name], f"{name}.whole")
                value = self._step("Mul", [value, self._constant(f"{name}.scale", node.scale)], f"{name}.scaled")
                self._step("Add", [value, self._constant(f"{name}.shift", node.shift)], name)
            case g.ArgMax():
                self._argmax(node, inputs)

    def _convolution(self, node: g.Convolution, name: str, inputs: list[str], gate: bool) -> None:
        side = node.weight.shape[2]
        self._step(
            "Conv",
            [*inputs, *self._weights(node, gate)],
            name,
            kernel_shape=[side, side],
            strides=[node.stride] * 2,
            dilations=[node.dilation] * 2,
            group=node.groups,
            **({"auto_pad": "SAME_UPPER"} if node.same and self.job.dynamic else {"pads": node.padding}),
        )

    def _weights(self, node: g.Convolution | g.Linear, gate: bool) -> list[str]:
        """Weight and bias of a layer. The sixth of a gate, and a factor of what it reads, go into their scales."""
        net, name = self.net, node.name
        factor = np.float32(self.factors.get(node.inputs[0], 1.0))
        if net is None or name not in net.scales:
            weight = self._weight(f"{name}.weight", node.weight / factor)
            return [weight, self._constant(f"{name}.bias", node.bias)]
        codes = net.integers(name)
        if codes.bias is None:
            return [self._widened(name, codes), self._constant(f"{name}.bias", node.bias)]
        sixth, product, bias = np.float32(6 if gate else 1), net.product_scale(name), codes.bias
        if gate:
            bias = bias + np.rint(3 / product.astype(np.float64)).astype(np.int32)
        return [
            self._dequantised(f"{name}.weight", codes.weight, codes.scale / sixth / factor),
            self._dequantised(f"{name}.bias", bias, product / sixth),
        ]

    def _dequantised(self, name: str, codes: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """Codes with a scale for each output channel, as the integer kernels are given them."""
        zeros = self._constant(f"{name}.zero", np.zeros(len(scale), codes.dtype))
        given = [self._constant(f"{name}.codes", codes), self._constant(f"{name}.scale", scale), zeros]
        return self._step("DequantizeLinear", given, name, axis=0)

    def _widened(self, name: str, codes: IntegerWeights) -> str:
        """8-bit weights of a layer that computes in float32: widened once, when the file is opened."""
        stored = self._constant(f"{name}.weight.codes", codes.weight)
        spread = codes.scale.reshape(-1, *[1] * (codes.weight.ndim - 1))
        wide = self._step("Cast", [stored], f"{name}.weight.wide", to=self.onnx.TensorProto.FLOAT)
        return self._step("Mul", [wide, self._constant(f"{name}.weight.scale", spread)], f"{name}.weight")

    def _split(self, name: str, source: str) -> None:
        """Six times h-swish, on bytes: x * min(x + 3, 6). The bytes of x + 3 are those of x, with the zero point 0."""
        assert self.net is not None
        held = self.net.values[source]
        codes, top = f"{source}.codes", six(held)
        if top is not None:
            most = self._constant(f"{name}.six", np.array(top, np.uint8))
            codes = self._step("Clip", [codes, "", most], f"{name}.cut")
        scale = self._constant(f"{name}.part.scale", np.array(held.scale, np.float32))
        zero = self._constant(f"{name}.part.zero", np.array(0, np.uint8))
        part = self._step("DequantizeLinear", [codes, scale, zero], f"{name}.part")
        self._step("Mul", [self.names[source], part], name)

    def _resize(self, node: g.Resize, inputs: list[str]) -> None:
        source, like = inputs
        how, last = self._enlargement(node.name), self._channels_last(node.name)
        if how is not None:
            self._enlarge(node, source, how)
            return
        if self.job.dynamic:  # batch and channels of the one, height and width of the other
            shapes = self._step("Concat", [self._shape_of(source), self._shape_of(like)], f"{node.name}.shapes", axis=0)
            picked = self._constant(f"{node.name}.axes", np.array([0, 6, 7, 1] if last else [0, 1, 6, 7], np.int64))
            sizes = self._step("Gather", [shapes, picked], f"{node.name}.sizes")
        else:
            n, c, h, w = node.shape
            sizes = self._constant(f"{node.name}.sizes", np.array([n, h, w, c] if last else [n, c, h, w], np.int64))
        if last:
            source = self._step("Transpose", [source], f"{node.name}.channels_last", perm=[0, 2, 3, 1])
        mode = "align_corners" if node.align_corners else "half_pixel"
        self._step("Resize", [source, "", "", sizes], node.name, mode="linear", coordinate_transformation_mode=mode)

    def _enlargement(self, name: str) -> Enlargement | None:
        """How the logits `name` are enlarged by products of matrices, where they are."""
        node = self.graph[name]
        return enlargement(self.graph, node) if isinstance(node, g.Resize) and not self.job.dynamic else None

    def _enlarge(self, node: g.Resize, source: str, how: Enlargement) -> None:
        """`node` by products of matrices. What only chooses each pixel's class reads columns in groups as well."""
        name, constant, across = node.name, self._constant, how.across.weight.T
        laid = self._step("MatMul", [source, constant(f"{name}.picks", how.across.picks.T)], f"{name}.laid")
        rows = self._step("Gather", [laid, constant(f"{name}.rows", how.down.taken)], f"{name}.bands", axis=2)
        tall = self._step("MatMul", [constant(f"{name}.down", how.down.weight), rows], f"{name}.tall")
        groups = self._reshape(tall, f"{name}.groups", (*node.shape[:2], -1, len(across)))
        given, answers = [groups, constant(f"{name}.across", across)], name == self.graph.output
        wide = self._step("MatMul", given, f"{name}.wide" if answers else name)
        if answers:
            self._reshape(wide, name, node.shape)

    def _reshape(self, value: str, name: str, shape: tuple[int, ...]) -> str:
        return self._step("Reshape", [value, self._constant(f"{name}.shape", np.array(shape, np.int64))], name)

    def _argmax(self, node: g.ArgMax, inputs: list[str]) -> None:
        name, source = node.name, node.inputs[0]
        largest = self._step(
            "ArgMax", inputs, f"{name}.index", axis=3 if self._channels_last(source) else 1, keepdims=0
        )
        in_groups = self._enlargement(source) is not None
        mask = self._step("Cast", [largest], f"{name}.mask" if in_groups else name, to=self.onnx.TensorProto.UINT8)
        if in_groups:
            self._reshape(mask, name, node.shape)

    def _channels_last(self, name: str) -> bool:
        """Whether `name` is a map resized only to choose each pixel's class: quicker with the classes side by side."""
        last = self.graph[self.graph.output]
        chosen = isinstance(last, g.ArgMax) and last.inputs[0] == name and isinstance(self.graph[name], g.Resize)
        return chosen and self._enlargement(name) is None

    def _shape_of(self, value: str) -> str:
        name = f"{value}.shape"
        if not any(name in step.output for step in self.nodes):
            self._step("Shape", [value], name)
        return name

    def _from_pixels(self, node: g.FromPixels) -> None:
        value = self._step("Cast", list(node.inputs), "pixels.float", to=self.onnx.TensorProto.FLOAT)
        value = self._step("Transpose", [value], "pixels.planes", perm=[0, 3, 1, 2])
        scale = self._constant("pixels.scale", node.scale.reshape(1, 3, 1, 1))
        shift = self._constant("pixels.shift", node.shift.reshape(1, 3, 1, 1))
        value = self._step("Mul", [value, scale], "pixels.scaled")
        self._step("Add", [value, shift], node.name)
