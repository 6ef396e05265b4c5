"""The operations of a graph in torch, as ExecuTorch's XNNPACK is quickest with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from hswish.export.bands import Bands, enlargement
from hswish.quantize.network import GraphNetwork
from hswish.spec import graph as g


class ExecuTorchNetwork(GraphNetwork):
    """Enlarges the logits by products of matrices: XNNPACK's resize leaves channels last, to be turned round."""

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

    def resized(self, node: g.Resize, x: Tensor, size: tuple[int, int]) -> Tensor:
        """See `GraphNetwork.resized`."""
        if enlargement(self.graph, node) is None:
            return super().resized(node, x, size)
        n, channels, _, _ = x.shape
        height, width = size
        down, across = (f"{name}_{self.index[node.name]}" for name in ("down", "across"))
        laid = self._picked(across, x).permute(0, 1, 3, 2)  # (N, C, columns in groups, rows)
        tall = self._multiplied(down, self._picked(down, laid)).reshape(n, channels, -1, height).permute(0, 1, 3, 2)
        return self._multiplied(across, tall).reshape(n, channels, height, width)

    def _picked(self, name: str, x: Tensor) -> Tensor:
        """(..., lines) to (..., groups * (some + 2))."""
        return linear(x, self.get_buffer(f"{name}_picks"))

    def _multiplied(self, name: str, x: Tensor) -> Tensor:
        """(..., groups * (some + 2)) to (all of them, factor * some)."""
        weight = self.get_buffer(f"{name}_weight")
        return linear(x.reshape(-1, weight.shape[1]), weight)
