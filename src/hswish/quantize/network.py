"""The operations of a graph run in torch, one by one, with whatever stands between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.spec import graph as g

_ARRAYS = ("weight", "bias", "scale", "shift")


class GraphNetwork(nn.Module):
    """A graph as a torch module. With batch norm folded it is quicker than the network it was traced from."""

    def __init__(self, graph: g.Graph) -> None:
        super().__init__()
        self.graph = graph
        # As tensors: plain numbers would be converted at every run of an ExecuTorch program.
        self.register_buffer("three", torch.full((1, 1, 1, 1), 3.0))
        self.register_buffer("sixth", torch.full((1, 1, 1, 1), 1 / 6))
        self.index = {node.name: index for index, node in enumerate(graph.nodes)}
        for index, node in enumerate(graph.nodes):
            for name in _ARRAYS:
                if hasattr(node, name):
                    self.register_buffer(f"{name}_{index}", torch.from_numpy(getattr(node, name)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), or (N, H, W, 3) uint8, to the graph's output."""
        values = {g.INPUT: self.between(g.INPUT, x)}
        for node in self.graph.nodes:
            values[node.name] = self.between(node.name, self.run(node, [values[name] for name in node.inputs]))
        return values[self.graph.output]

    def between(self, name: str, value: Tensor) -> Tensor:
        """What readers of a value get; a subclass may round it or look at it."""
        return value

    def weights(self, node: g.Node) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer, as it multiplies with them."""
        weight, bias = self.held(node, "weight", "bias")
        return weight, bias

    def held(self, node: g.Node, *names: str) -> list[Tensor]:
        """Arrays of a node as tensors."""
        return [self.get_buffer(f"{name}_{self.index[node.name]}") for name in names]

    def run(self, node: g.Node, inputs: list[Tensor]) -> Tensor:
        """One operation on the values that it reads."""
        x = inputs[0]
        match node:
            case g.Convolution():
                return self._convolution(node, x)
            case g.Linear():
                return F.linear(x, *self.weights(node))
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
                height, width = inputs[1].shape[2:]
                return self.resized(node, x, (height, width))
            case g.FromPixels():
                scale, shift = self.held(node, "scale", "shift")
                return x.permute(0, 3, 1, 2).to(torch.float32) * scale.reshape(1, 3, 1, 1) + shift.reshape(1, 3, 1, 1)
            case g.Grey():
                weight, bias, scale, shift = self.held(node, *_ARRAYS)
                one = (1, 1, 1, 1)
                return F.conv2d(x, weight, bias).floor() * scale.reshape(one) + shift.reshape(one)
            case g.ArgMax():
                return x.argmax(1).to(torch.uint8)
            case _:
                raise AssertionError(node)

    def resized(self, node: g.Resize, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) in another (height, width)."""
        return F.interpolate(x, size=size, mode="bilinear", align_corners=node.align_corners)

    def padded(self, node: g.Convolution, x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        """What a convolution reads with zeros around it, where sides (left, right, top, bottom) differ."""
        return F.pad(x, sides)

    def _activation(self, kind: g.ActivationKind, x: Tensor) -> Tensor:
        if kind == "hard_sigmoid":
            return F.relu6(x + self.get_buffer("three")) * self.get_buffer("sixth")
        return _ACTIVATIONS[kind](x)

    def _convolution(self, node: g.Convolution, x: Tensor) -> Tensor:
        weight, bias = self.weights(node)
        top, left, bottom, right = node.same_padding(*x.shape[2:]) if node.same else node.padding
        if (top, left) != (bottom, right):
            x, top, left = self.padded(node, x, (left, right, top, bottom)), 0, 0
        return F.conv2d(x, weight, bias, node.stride, (top, left), node.dilation, node.groups)


_ACTIVATIONS: dict[g.ActivationKind, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "hard_swish": F.hardswish,
}
