"""A second mask made from a middle map, so that the layers below it are taught directly.

Trained with the network and left behind: no model file holds it (PSPNet, arXiv 1612.01105).
"""

from __future__ import annotations

from torch import Tensor, nn

from hswish.models.lraspp import upsample
from hswish.models.segmenter import Segmenter


class WithAuxiliary(nn.Module):
    """x (N, C, H, W) to (logits, auxiliary logits), both (N, K, H, W)."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        blocks = model.architecture.backbone.blocks
        middle = _middle(tuple(block.out_channels for block in blocks))
        self.tap = f"blocks.{middle}"
        channels = blocks[middle].out_channels
        self.model = model
        self.auxiliary = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, model.architecture.options.num_classes, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        model = self.model
        high, *skips, middle = model.backbone.taps(x, (*model.taps, self.tap))
        logits = upsample(model.head(high, skips), x, align_corners=model.align_corners)
        return logits, upsample(self.auxiliary(middle), x, align_corners=model.align_corners)


def _middle(widths: tuple[int, ...]) -> int:
    """Index of the block before the last stage, which is the run of blocks of the last width."""
    index = len(widths) - 1
    while index > 0 and widths[index] == widths[-1]:
        index -= 1
    return index
