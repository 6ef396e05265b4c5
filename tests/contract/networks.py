"""Networks and pictures that tell one answer from another: small, and with batch norms that do something."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from hswish.models.block import InvertedResidual
from hswish.models.described import DescribedModule
from hswish.models.factory import create_model
from hswish.spec.preprocess import Preprocess

CLASSES = ("ash", "beech", "cedar", "elm", "fir")
SIZE = (48, 64)
"""(height, width): not square, so that a swapped axis shows"""


@cache
def network(
    name: str,
    size: tuple[int, int] = SIZE,
    channels: str = "RGB",
    residual: float = 1.0,
    logits: float = 1.0,
    **options: Any,
) -> DescribedModule:
    """A network whose every layer matters to the answer; fresh ones have idle batch norms and tiny logits.

    Training leaves residual branches quiet. Loud ones, with `residual` 1, make 15 blocks at real size magnify
    rounding errors 40 times as much as trained ones do; with 0.3 it is a few times. `logits` scales the answer
    of a head with a classifier.
    """
    options = {"width_mult": 0.35, "num_classes": len(CLASSES), **options}
    if name.startswith("lraspp"):
        options.setdefault("head_channels", 16)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = create_model(name, **options)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.5)
                module.momentum = None  # the plain mean of what is seen
            elif isinstance(module, torch.nn.Linear):
                module.weight.data.normal_(0, 0.1)
                if module.bias is not None:
                    module.bias.data.normal_(0, 0.3)
        for block in model.modules():
            if isinstance(block, InvertedResidual) and block.has_residual:
                block.project.norm.weight.data *= residual
        if logits != 1:
            for weight in model.head.classifier.parameters():
                weight.data *= logits
        with torch.inference_mode():  # batch norms learn the statistics, as in training
            model.train()(torch.rand(8, model.architecture.options.in_channels, 2 * size[0], 2 * size[1]) * 4 - 2)
    assert isinstance(model, DescribedModule)
    grey: dict[str, Any] = {"mean": (0.4,), "std": (0.2,)} if channels == "L" else {}
    model.describe(
        classes=CLASSES,
        preprocess=Preprocess(height=size[0], width=size[1], resize="stretch", channels=channels, **grey),
        metrics={"val": {"top1": 0.5}},
        provenance={"data": "nothing", "licence": "Apache-2.0"},
    )
    return model.eval()


def pictures(count: int = 3, seed: int = 0) -> list[Image.Image]:
    """Blobs of colour with edges and noise, each of another size."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
        size = (int(rng.integers(60, 90)), int(rng.integers(50, 80)))
        smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)
        made.append(Image.fromarray(noisy))
    return made
