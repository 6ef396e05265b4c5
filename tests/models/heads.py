"""A segmentation head beside its reference, with the same weights: what the tests of the heads share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hswish.models import create_model
from hswish.models.segmenter import Segmenter
from hswish.spec.architecture import HEADS
from tests.models.conftest import lived_in
from tests.models.reference import Floats
from tests.models.reference_network import Network, Reading


class HeadPair:
    """A tiny segmenter's head in float64, and the reference's."""

    def __init__(self, head: str, size: str = "small", output_stride: int = 16) -> None:
        assert head in HEADS
        options = {"head": head, "output_stride": output_stride, "num_classes": 5, "head_channels": 12}
        model = create_model(f"lraspp_mobilenet_v3_{size}", width_mult=0.1, **options).double()  # type: ignore[arg-type]
        assert isinstance(model, Segmenter)
        self.model = lived_in(model)
        self.module: nn.Module = model.head
        self.taps: tuple[str, ...] = model.taps[1:]
        weights = {key: value.numpy() for key, value in model.state_dict().items()}
        reading = Reading(size=size, head=head, classes=5, head_width=12, output_stride=output_stride)  # type: ignore[arg-type]
        self.network = Network(reading, weights)

    def inputs(self, *sizes: tuple[int, int], seed: int = 0) -> tuple[Floats, list[Floats]]:
        """Noise for the deep map and for each skip, of the given heights and widths; two pictures."""
        random = np.random.RandomState(seed)
        arch = self.model.architecture
        head = arch.head  # type: ignore[union-attr]
        skips = getattr(head, "skips", None) or ([head.skip] if hasattr(head, "skip") else [])  # type: ignore[union-attr]
        channels = [head.high_channels, *(skip.channels for skip in skips)]  # type: ignore[union-attr]
        high, *low = (random.standard_normal((2, width, *size)) for width, size in zip(channels, sizes, strict=True))
        return high, low

    def computed(self, high: Floats, skips: list[Floats]) -> Floats:
        """What the package's head gives."""
        with torch.no_grad():
            out: Floats = self.module(torch.from_numpy(high), [torch.from_numpy(skip) for skip in skips]).numpy()
        return out

    def wanted(self, high: Floats, skips: list[Floats]) -> Floats:
        """What the reference's gives."""
        self.network.stages = dict(zip(self.taps, skips, strict=True))
        kind = {"raspp": self.network.raspp, "fastseg": self.network.concat}
        return kind.get(self.network.reading.head, self.network.lraspp)(high)
