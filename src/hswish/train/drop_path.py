"""Stochastic depth: residual blocks that a picture passes by (Huang et al., arXiv 1603.09382)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hswish.models import DescribedModule


def add_drop_path(model: DescribedModule, rate: float) -> None:
    """Leave out residual branches while training: the last one at `rate`, the earlier ones less, in proportion.

    By hooks: the network's own code and the names of its weights stay as they are.
    """
    blocks = [module for module in model.modules() if getattr(module, "has_residual", False)]
    for number, block in enumerate(blocks, start=1):
        branch_end = block.project
        assert isinstance(branch_end, nn.Module)
        branch_end.register_forward_hook(_DropPath(rate * number / len(blocks)))


class _DropPath:
    """Forward hook at the end of a residual branch (N, C, H, W)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, module: nn.Module, inputs: Any, branch: Tensor) -> Tensor | None:
        if not module.training:
            return None
        kept = torch.rand(len(branch), 1, 1, 1, device=branch.device) >= self.rate
        return branch * kept / (1 - self.rate)
