"""MobileNetV3 for classification: backbone and the efficient last stage (Figure 5)."""

# No `from __future__ import annotations`: torch.fx copies them into its graphs, and as strings
# they could not be pickled.

from torch import Tensor, nn

from hswish.models.activations import activation
from hswish.models.backbone import Backbone
from hswish.models.described import DescribedModule
from hswish.spec.architecture import Architecture, ClassifierHead


class Classifier(nn.Module):
    """Global pool, 1x1 convolution without batch norm, non-linearity, dropout, linear.

    The 1280 (1024) features are computed after the pooling, on one pixel instead of 49: the
    paper's saving of 30 million multiply-adds (section 5.1).
    """

    def __init__(self, head: ClassifierHead) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(head.in_channels, head.hidden_channels, bias=head.hidden_bias)
        self.act = activation(head.act)
        self.dropout = nn.Dropout(head.dropout)
        self.classifier = nn.Linear(head.hidden_channels, head.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(self.pool(x))
        x = self.act(self.hidden(x))
        return self.classifier(self.dropout(x))


class MobileNetV3(DescribedModule):
    """(N, in_channels, H, W) to logits (N, num_classes)."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__(arch)
        assert isinstance(arch.head, ClassifierHead)
        self.backbone = Backbone(arch)
        self.head = Classifier(arch.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))
