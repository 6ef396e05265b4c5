"""The engine that runs a network in torch: the reference that every other engine is measured against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hswish.models.checkpoint import load
from hswish.models.described import DescribedModule
from hswish.spec.artifact import Description


class TorchEngine:
    """Runs a network of `hswish.models`, live or from a `.safetensors` file."""

    suffixes: tuple[str, ...] = (".safetensors",)

    def __init__(self, model: DescribedModule, device: str | torch.device | None = None) -> None:
        self.model = model
        self.device = torch.device(device) if device is not None else next(model.parameters()).device

    @property
    def description(self) -> Description:
        return self.model.description

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> TorchEngine:
        """Open a `.safetensors` file; `threads` is torch's setting for the whole process.

        Raises:
            ModelFileError: see `hswish.load`.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(channels_last(load(path)).to(device), device)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a normalised batch (N, C, H, W): (N, K), or (N, K, H, W) for masks."""
        training = [module for module in self.model.modules() if module.training]  # some may be frozen
        self.model.eval()
        try:
            with torch.inference_mode():
                pictures = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
                logits = self.model(pictures.to(memory_format=torch.channels_last))
                return logits.float().cpu().numpy()
        finally:
            for module in training:
                module.training = True


def channels_last(model: DescribedModule) -> DescribedModule:
    """Store the weights (and so compute) in NHWC order: about twice as fast on a CPU, same values."""
    # torch's stubs know this keyword of Tensor.to, but not of Module.to.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
