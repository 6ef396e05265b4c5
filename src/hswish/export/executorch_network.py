"""The operations of a graph in torch, as ExecuTorch's XNNPACK is quickest with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from hswish.export.bands import Bands, enlargement
from hswish.quantize.network import GraphNetwork
from hswish.spec import graph as g

_BEYOND = 3e38
"""Times this, any difference of two numbers is more than the number of a class."""


class ExecuTorchNetwork(GraphNetwork):
    """Enlarges the logits by products of matrices: XNNPACK's resize leaves channels last, to be turned round.

    A mask takes the classes one by one, as XNNPACK has no argmax, and ExecuTorch's own takes as long as the network.
    """

    def __init__(self, graph: g.Graph) -> None:
        super().__init__(graph)
        for node in graph.nodes:
            how = enlargement(graph, node) if isinstance(node, g.Resize) else None
            if how is not None:
                for name, lines in (("down", how.down), ("across", how.across)):
                    self._hold(f"{name}_{self.index[node.name]}", lines)

    def _hold(self, name: str, lines: Bands) -> None:
        self.register_buffer(f"{name}_picks", torch.from_numpy(lines.picks))
        self.register_buffer(f"{name}_weight", torch.from_numpy(lines.weight))

    def run(self, node: g.Node, inputs: list[Tensor]) -> Tensor:
        """See `GraphNetwork.run`."""
        match node:
            case g.ArgMax():
                return self._best(node, inputs[0])
            case g.GlobalPool():  # torch's pooling also sets strides where channels are last; XNNPACK has no such step
                return inputs[0].mean((2, 3), keepdim=True)
            case g.FromPixels():  # float32 first, which XNNPACK turns round
                scale, shift = self.held(node, "scale", "shift")
                real = inputs[0].to(torch.float32).permute(0, 3, 1, 2)
                return real * scale.reshape(1, 3, 1, 1) + shift.reshape(1, 3, 1, 1)
        return super().run(node, inputs)

    def resized(self, node: g.Resize, x: Tensor, size: tuple[int, int]) -> Tensor:
        """See `GraphNetwork.resized`; before an ArgMax enlarged down alone, (N, C, height, columns in groups)."""
        if enlargement(self.graph, node) is None:
            return super().resized(node, x, size)
        n, channels, _, _ = x.shape
        height, width = size
        down, across = (f"{name}_{self.index[node.name]}" for name in ("down", "across"))
        laid = self._picked(across, x).permute(0, 1, 3, 2)  # (N, C, columns in groups, rows)
        tall = self._multiplied(down, self._picked(down, laid)).reshape(n, channels, -1, height).permute(0, 1, 3, 2)
        return tall if self.graph.gives_mask else self._multiplied(across, tall).reshape(n, channels, height, width)

    def _best(self, node: g.ArgMax, x: Tensor) -> Tensor:
        """(1, height, width) uint8: the first of the classes with the greatest logit."""
        source = self.graph[node.inputs[0]]
        is_tall = isinstance(source, g.Resize) and enlargement(self.graph, source) is not None
        across = f"across_{self.index[source.name]}"
        flat = x.reshape(x.shape[1], -1)  # of one picture, as all programs are
        classes = [flat[place : place + 1] for place in range(x.shape[1])]
        greatest = self._multiplied(across, classes[0]) if is_tall else classes[0]
        best = torch.zeros_like(greatest)
        for place, one in enumerate(classes[1:], 1):
            logit = self._multiplied(across, one) if is_tall else one
            # 0, or the place where it beats all before: places grow, so the last to do so is the greatest of them
            beats = ((logit - greatest) * _BEYOND).clamp(0, place)
            best = beats if place == 1 else torch.maximum(best, beats)
            greatest = torch.maximum(greatest, logit)
        return best.reshape(node.shape).to(torch.uint8)

    def _picked(self, name: str, x: Tensor) -> Tensor:
        """(..., lines) to (..., groups * (some + 2))."""
        return linear(x, self.get_buffer(f"{name}_picks"))

    def _multiplied(self, name: str, x: Tensor) -> Tensor:
        """(..., groups * (some + 2)) to (all of them, factor * some)."""
        weight = self.get_buffer(f"{name}_weight")
        return linear(x.reshape(-1, weight.shape[1]), weight)
