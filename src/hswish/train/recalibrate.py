"""Batch-norm statistics measured anew for weights that no batch was ever trained with.

An average of weights comes with an average of statistics, which are those of other weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from hswish.models import DescribedModule


def recalibrate(model: DescribedModule, batches: Iterable[Tensor], device: torch.device) -> None:
    """Replace the running statistics of `model` by the mean over `batches`, each (N, C, H, W).

    The weights stay. The result depends on weights and batches alone, so doing it twice changes nothing.
    """
    pictures = (batch.to(device, memory_format=torch.channels_last) for batch in batches)
    update_bn(pictures, model)
    model.eval()
