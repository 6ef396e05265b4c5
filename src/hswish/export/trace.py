"""From a torch network to the list of operations that every format is written from.

The network itself knows nothing of exporting: `torch.fx` follows its forward pass, and each
module or function met becomes one node of `hswish.spec.graph`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hswish.export.order import narrow_first
from hswish.models.activations import HSigmoid, HSwish
from hswish.models.block import SameConv2d
from hswish.models.described import DescribedModule
from hswish.models.lraspp import WindowPool as PoolModule
from hswish.models.lraspp import upsample
from hswish.spec.errors import OptionError
from hswish.spec.graph import (
    INPUT,
    Activation,
    ActivationKind,
    Add,
    ArgMax,
    Concat,
    Convolution,
    Flatten,
    FromPixels,
    GlobalPool,
    Graph,
    Grey,
    Linear,
    Multiply,
    Node,
    Resize,
    WindowPool,
)
from hswish.spec.preprocess import Preprocess

_ACTIVATIONS: dict[type[nn.Module], ActivationKind] = {
    nn.ReLU: "relu",
    HSwish: "hard_swish",
    HSigmoid: "hard_sigmoid",
    nn.Sigmoid: "sigmoid",
}
_LEAVES = (nn.Conv2d, PoolModule, *_ACTIVATIONS)


def trace(model: DescribedModule, size: tuple[int, int]) -> Graph:
    """The operations of `model` for inputs of `size` (height, width) in pixels.

    Raises:
        OptionError: the network holds an operation that no format is written from.
    """
    channels = model.architecture.options.in_channels
    training = model.training
    model.eval()
    try:
        tracer = _Tracer()
        module = fx.GraphModule(tracer.root_of(model), tracer.graph)
        builder = _Builder(module)
        example = torch.zeros(1, channels, *size)
        with torch.inference_mode():
            builder.run(example.to(next(model.parameters()).device))
    finally:
        model.train(training)
    output = next(node for node in module.graph.nodes if node.op == "output").args[0]
    nodes, answer = tuple(builder.nodes.values()), builder.value(output)
    return narrow_first(Graph(input_shape=(1, channels, *size), nodes=nodes, output=answer))


def embed(graph: Graph, preprocess: Preprocess | None = None, argmax: bool = False) -> Graph:
    """`graph` with normalisation of uint8 pictures before it, or the choice of each pixel's class after it.

    Raises:
        OptionError: a mask of a classifier.
    """
    if preprocess is not None:
        if preprocess.channels == "BGR":  # the pixels stay RGB; the first convolution reads them the other way round
            graph = _reading_reversed(graph)
        graph = _behind_pixels(graph, preprocess)
    if argmax:
        if len(graph.output_shape) != 4:
            raise OptionError("--embed argmax makes masks; this model labels whole pictures")
        _, _, height, width = graph.output_shape
        last = ArgMax(name="mask", inputs=(graph.output,), shape=(1, height, width))
        graph = replace(graph, nodes=(*graph.nodes, last), output=last.name)
    return graph


def _behind_pixels(graph: Graph, preprocess: Preprocess) -> Graph:
    """`graph` with the steps before it that make its input of uint8 pictures (N, H, W, 3) RGB."""
    order = slice(None, None, -1 if preprocess.channels == "BGR" else 1)
    scale = (1 / (255 * np.asarray(preprocess.std)[order])).astype(np.float32)
    shift = (-np.asarray(preprocess.mean)[order] / np.asarray(preprocess.std)[order]).astype(np.float32)
    _, _, height, width = graph.input_shape
    about: dict[str, Any] = {"name": "pixels", "inputs": (INPUT,), "shape": (1, 3, height, width)}
    first: list[Node] = [FromPixels(**about, scale=scale, shift=shift)]
    if preprocess.channels == "L":
        plain = FromPixels(**about, scale=np.ones(3, np.float32), shift=np.zeros(3, np.float32))
        weight, half = np.array([19595, 38470, 7471], np.float32) / np.float32(65536), np.full(1, 0.5, np.float32)
        about = {"name": "grey", "inputs": ("pixels",), "shape": graph.input_shape}
        first = [plain, Grey(**about, weight=weight.reshape(1, 3, 1, 1), bias=half, scale=scale, shift=shift)]
    moved = [
        replace(node, inputs=tuple(first[-1].name if name == INPUT else name for name in node.inputs))
        for node in graph.nodes
    ]
    return replace(graph, input_shape=(1, height, width, 3), nodes=(*first, *moved))


def _reading_reversed(graph: Graph) -> Graph:
    """`graph` for pictures whose channels come in reverse order."""
    return replace(
        graph,
        nodes=tuple(
            replace(node, weight=np.ascontiguousarray(node.weight[:, ::-1]))
            if isinstance(node, Convolution) and node.inputs == (INPUT,)
            else node
            for node in graph.nodes
        ),
    )


class _Tracer(fx.Tracer):
    """Stops at the modules and functions that are one operation."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(upsample,))

    def root_of(self, model: nn.Module) -> nn.Module:
        """Trace `model` into `self.graph`."""
        self.graph = self.trace(model)
        return model

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, _LEAVES) or super().is_leaf_module(module, qualified_name)


class _Builder(fx.Interpreter):
    """Runs the traced network once and writes down each operation with its output's shape."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.nodes: dict[str, Node] = {}
        self._names: dict[fx.Node, str] = {}

    def value(self, node: Any) -> str:
        """Name of the value that an fx node stands for."""
        return self._names[node]

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder":
            self._names[n] = INPUT
        elif n.op == "call_module":
            self._names[n] = self._module(n, self.fetch_attr(str(n.target)), result)
        elif n.op in ("call_function", "call_method") and n.target not in (getattr,):
            self._names[n] = self._function(n, result)
        return result

    def _add(self, node: Node) -> str:
        self.nodes[node.name] = node
        return node.name

    def _module(self, n: fx.Node, module: nn.Module, result: Tensor) -> str:
        source = self.value(n.args[0])
        about: dict[str, Any] = {"name": str(n.target), "inputs": (source,), "shape": tuple(result.shape)}
        kind = _ACTIVATIONS.get(type(module))
        if kind is not None:
            return self._add(Activation(**about, kind=kind))
        if isinstance(module, nn.Conv2d):
            return self._add(_convolution(about, module, self.env[n.args[0]]))  # type: ignore[index]
        if isinstance(module, nn.BatchNorm2d):
            self.nodes[source] = _folded(self.nodes[source], module)
            return source
        if isinstance(module, nn.Linear):
            return self._add(Linear(**about, weight=_array(module.weight), bias=_bias(module)))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return self._add(GlobalPool(**about))
        if isinstance(module, PoolModule):
            _, _, height, width = self.env[n.args[0]].shape  # type: ignore[index]
            window = (min(module.window, height), min(module.window, width))
            return self._add(WindowPool(**about, asked=module.window, window=window, stride=module.stride))
        if isinstance(module, nn.Flatten):
            return self._add(Flatten(**about))
        if isinstance(module, (nn.Dropout, nn.Identity)):
            return source
        raise OptionError(f"{n.target}: a {type(module).__name__} cannot be exported")

    def _function(self, n: fx.Node, result: Tensor) -> str:
        operands = n.args[0] if n.target is torch.cat else n.args
        inputs = tuple(self.value(node) for node in operands if isinstance(node, fx.Node))  # type: ignore[union-attr]
        about: dict[str, Any] = {"name": n.name, "inputs": inputs, "shape": tuple(result.shape)}
        if n.target is upsample:
            corners = bool(n.kwargs.get("align_corners", n.args[2] if len(n.args) > 2 else False))
            return self._add(Resize(**about, align_corners=corners))
        if n.target == "expand_as":  # of a 1 x 1 map: what resizing it gives, too
            return self._add(Resize(**about, align_corners=False))
        kind = _FUNCTIONS.get(n.target)
        if kind is None:
            raise OptionError(f"{n.name}: {n.target} cannot be exported")
        return self._add(kind(**about))


_FUNCTIONS: dict[Callable[..., Any] | str, type[Node]] = {
    operator.add: Add,
    operator.mul: Multiply,
    torch.cat: Concat,
}


def _convolution(about: dict[str, Any], module: nn.Conv2d, x: Tensor) -> Convolution:
    rows, columns = (int(side) for side in module.padding)
    conv = Convolution(
        **about,
        weight=_array(module.weight),
        bias=_bias(module),
        stride=module.stride[0],
        dilation=module.dilation[0],
        groups=module.groups,
        padding=(rows, columns, rows, columns),
        same=isinstance(module, SameConv2d),
    )
    return replace(conv, padding=conv.same_padding(*x.shape[-2:])) if conv.same else conv


def _folded(node: Node, norm: nn.BatchNorm2d) -> Convolution:
    """The convolution with the batch norm after it worked into its weights, in double precision."""
    if not isinstance(node, Convolution) or norm.running_mean is None or norm.running_var is None:
        raise OptionError(f"{node.name}: a batch norm that does not follow a convolution cannot be exported")
    mean, var = norm.running_mean.double().cpu().numpy(), norm.running_var.double().cpu().numpy()
    scale = norm.weight.detach().double().cpu().numpy() / np.sqrt(var + norm.eps)
    shift = norm.bias.detach().double().cpu().numpy() - mean * scale
    weight = node.weight.astype(np.float64) * scale[:, None, None, None]
    bias = node.bias.astype(np.float64) * scale + shift
    return replace(node, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _bias(module: nn.Conv2d | nn.Linear) -> NDArray[np.float32]:
    outputs = module.weight.shape[0]
    return np.zeros(outputs, np.float32) if module.bias is None else _array(module.bias)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
