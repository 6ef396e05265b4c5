"""The plain network: convolutions of 3x3 behind a fixed whitening layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Group(nn.Module):
    """Convolution, halving, convolution, and in deep ones a third: (N, in, H, W) to (N, out, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int, deep: bool = False) -> None:
        super().__init__()
        entries = (in_channels, out_channels, out_channels) if deep else (in_channels, out_channels)
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False) for channels in entries)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels, momentum=0.4) for _ in entries)
        for conv, norm in self.layers:
            nn.init.dirac_(conv.weight.data[: conv.in_channels])  # begins by letting its input through
            cast(nn.BatchNorm2d, norm).weight.requires_grad_(False)

    @property
    def layers(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        """Its convolutions, each with the norm behind it."""
        return [(cast(nn.Conv2d, conv), norm) for conv, norm in zip(self.convs, self.norms, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        x = halved = F.gelu(self.norms[0](F.max_pool2d(self.convs[0](x), 2)))
        x = self.norms[1](self.convs[1](x))
        if len(self.convs) == 3:
            x = self.norms[2](self.convs[2](F.gelu(x))) + halved
        return F.gelu(x)


class Plain(nn.Module):
    """Logits (N, K) of pictures (N, 3, H, W)."""

    def __init__(self, num_classes: int, widths: Sequence[int] = (64, 256, 256), deep: bool = False) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        pairs = zip((24, *widths[:-1]), widths, strict=True)
        self.groups = nn.Sequential(*(Group(*pair, deep) for pair in pairs))
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(F.gelu(self.whiten(x)))
        return self.classifier(x.amax((2, 3))) / 9

    @torch.no_grad()
    def fit_whitening(self, pictures: Tensor) -> None:
        """Filters that make the 2x2 patches of `pictures` uncorrelated and of variance 1, each with its negative."""
        patches = F.unfold(pictures, 2).transpose(1, 2).reshape(-1, 12)
        variances, axes = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (axes / (variances + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type] # it has one
