"""MobileNetV3 for segmentation: backbone, head, and logits at the input's own size."""

# No `from __future__ import annotations`: torch.fx copies them into its graphs, and as strings
# they could not be pickled.

from torch import Tensor, nn

from hswish.models.backbone import Backbone
from hswish.models.described import DescribedModule
from hswish.models.lraspp import LiteRASPP, upsample
from hswish.models.lraspp_concat import ConcatLiteRASPP
from hswish.models.raspp import ReducedASPP
from hswish.spec.architecture import Architecture, ClassifierHead, ConcatHead, LRASPPHead


class Segmenter(DescribedModule):
    """(N, in_channels, H, W) to logits (N, num_classes, H, W), at the input's exact size."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__(arch)
        head = arch.head
        assert not isinstance(head, ClassifierHead)
        self.backbone = Backbone(arch)
        self.head: nn.Module
        self.taps: tuple[str, ...] = ("last",)
        self.align_corners = False
        if isinstance(head, LRASPPHead):
            self.head = LiteRASPP(head, arch.options)
            self.taps = ("last", head.skip.tap)
            self.align_corners = head.align_corners
        elif isinstance(head, ConcatHead):
            self.head = ConcatLiteRASPP(head, arch.options)
            self.taps = ("last", *(skip.tap for skip in head.skips))
        else:
            self.head = ReducedASPP(head, arch.options)

    def forward(self, x: Tensor) -> Tensor:
        high, *skips = self.backbone.taps(x, self.taps)
        return upsample(self.head(high, skips), x, align_corners=self.align_corners)
