"""The hard non-linearities of section 5.2, as the paper writes them.

    h-sigmoid(x) = ReLU6(x + 3) / 6
    h-swish(x)   = x * ReLU6(x + 3) / 6

The functions are the equations; the modules compute the same with torch's fused kernels
(a test holds the two equal), which is what the networks are built of.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.spec.architecture import Activation


def h_sigmoid(x: Tensor) -> Tensor:
    """Piece-wise linear analogue of the sigmoid; any shape."""
    return F.relu6(x + 3) / 6


def h_swish(x: Tensor) -> Tensor:
    """Hard version of swish, x * sigmoid(x); any shape."""
    return x * h_sigmoid(x)


class HSigmoid(nn.Module):
    """`h_sigmoid` in one kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hardsigmoid(x)


class HSwish(nn.Module):
    """`h_swish` in one kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(x)


ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "hard_swish": HSwish}


def activation(name: Activation) -> nn.Module:
    """A fresh module for the tables' "NL" column."""
    return ACTIVATIONS[name]()
