"""Fine-tuning with fake quantisation: the rounded network learns to answer as the one in float32.

Weights and biases of the graph are trained while everything is rounded as it will be; gradients pass the
rounding as if it were not there (straight through), and stop where a value is clipped. The teacher is the
network in float32, on the same pictures, so no labels are needed and nothing new is learnt. Ranges and
scales stay those of calibration, so nothing drifts between training and the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from hswish.quantize.network import GraphNetwork
from hswish.quantize.simulate import as_tensor
from hswish.spec import graph as g
from hswish.spec.errors import OptionError
from hswish.spec.quantized import LEVELS, QuantizedGraph, Range


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """How long and how fast."""

    steps: int = 300
    rate: float = 1e-4
    """of Adam, at the start; it falls to 0 along a cosine. Weights move by about so much of their own size"""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1_000_000 or not 0 < self.rate < 1:
            raise OptionError(
                f"fine-tuning takes at least one step and a rate in (0, 1), not {self.steps}, {self.rate}"
            )


def finetune(
    net: QuantizedGraph,
    exact: g.Graph,
    batches: Sequence[NDArray[np.float32]],
    settings: Finetuning | None = None,
    progress: Callable[[int, int, float], object] | None = None,
) -> QuantizedGraph:
    """`net` with weights and biases that answer more as `exact` does on `batches`.

    Args:
        exact: the same operations in float32: the teacher.
        batches: preprocessed pictures, each batch a step; they are taken round and round, in random order.
        progress: called with (steps done, steps in all, loss).
    """
    settings = settings or Finetuning()
    teacher, student = GraphNetwork(exact).eval(), _Student(net)
    optimizer = torch.optim.Adam(student.parameters(), lr=settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    for step, batch in enumerate(_rounds(batches, settings)):
        pictures = as_tensor(batch)
        with torch.no_grad():
            wanted = teacher(pictures)
        loss = distance(student(pictures), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, settings.steps, float(loss.detach()))
    return replace(net, graph=student.trained())


def distance(made: Tensor, wanted: Tensor) -> Tensor:
    """How differently two answers (N, K) or (N, K, H, W) choose: the divergence of their probabilities."""
    return F.kl_div(made.log_softmax(1), wanted.log_softmax(1), reduction="none", log_target=True).sum(1).mean()


def _rounds(batches: Sequence[NDArray[np.float32]], settings: Finetuning) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(settings.seed)
    order: list[int] = []
    for _ in range(settings.steps):
        order = order or rng.permutation(len(batches)).tolist()
        yield batches[order.pop()]


class _Student(GraphNetwork):
    """The rounded network, whose weights are trained relative to their scales."""

    def __init__(self, net: QuantizedGraph) -> None:
        super().__init__(net.graph)
        self.net = net
        self.trained_arrays = nn.ParameterList()
        self.places: dict[tuple[str, str], int] = {}
        for node in net.graph.nodes:
            for key in ("weight", "bias"):
                if hasattr(node, key) and isinstance(node, (g.Convolution, g.Linear)):
                    self.places[node.name, key] = len(self.trained_arrays)
                    self.trained_arrays.append(nn.Parameter(torch.from_numpy(getattr(node, key).copy())))
        self.scales = {name: torch.from_numpy(scale) for name, scale in net.scales.items()}

    def between(self, name: str, value: Tensor) -> Tensor:
        held = self.net.values.get(name)
        return value if held is None else _straight_through(value, held)

    def weights(self, node: g.Node) -> tuple[Tensor, Tensor]:
        weight, bias = (self.trained_arrays[self.places[node.name, key]] for key in ("weight", "bias"))
        if node.name in self.scales:
            scale = self.scales[node.name].reshape(-1, *[1] * (weight.ndim - 1))
            steps = (weight / scale).clamp(-self.net.top, self.net.top)
            weight = (steps + (steps.round() - steps).detach()) * scale
        return weight, bias

    def trained(self) -> g.Graph:
        """The graph with what was learnt."""
        nodes: list[g.Node] = []
        for node in self.graph.nodes:
            if isinstance(node, (g.Convolution, g.Linear)):
                weight, bias = (
                    self.trained_arrays[self.places[node.name, key]].detach().numpy() for key in ("weight", "bias")
                )
                nodes.append(replace(node, weight=np.ascontiguousarray(weight), bias=bias))
            else:
                nodes.append(node)
        return replace(self.graph, nodes=tuple(nodes))


def _straight_through(value: Tensor, held: Range) -> Tensor:
    """Rounded; the gradient passes where the value lies in the range."""
    steps = (value / held.scale + held.zero_point).clamp(0, LEVELS)
    return (steps + (steps.round() - steps).detach() - held.zero_point) * held.scale
