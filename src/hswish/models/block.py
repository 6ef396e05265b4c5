"""The MobileNetV3 block (Figure 4): inverted residual with squeeze-and-excitation.

x (N, in, H, W)
  -> expand     1x1 conv, BN, NL           (N, expand, H, W)
  -> depthwise  kxk conv, BN, NL, stride s  (N, expand, H/s, W/s)
  -> se         gate per channel            (N, expand, H/s, W/s)
  -> project    1x1 conv, BN, linear        (N, out, H/s, W/s)
  (+ x where stride is 1 and in == out)
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from hswish.models.activations import HSigmoid, activation
from hswish.spec.architecture import Activation, Block, Options


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, non-linearity; symmetric padding (k - 1) / 2 * dilation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        options: Options,
        *,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 * dilation
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=options.bn_eps, momentum=options.bn_momentum)
        if act is not None:
            self.act = activation(act)


class SqueezeExcite(nn.Module):
    """Channel attention after the depthwise convolution (section 5.3).

    Squeeze to 1 x 1 x C by global pooling, C -> C/4 -> C by two 1x1 convolutions with ReLU
    and h-sigmoid, then scale the map.
    """

    def __init__(self, channels: int, squeeze_channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)
        self.gate = HSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        attention = self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return x * attention


class BlockMaps(NamedTuple):
    """The tensors of a block that other heads may tap."""

    expand: Tensor
    """(N, expand, H, W), after the non-linearity"""
    depthwise: Tensor
    """(N, expand, H/s, W/s), after the non-linearity, before squeeze-and-excitation"""
    out: Tensor
    """(N, out, H/s, W/s)"""


class InvertedResidual(nn.Module):
    """One row of Table 1 or 2."""

    def __init__(self, block: Block, options: Options) -> None:
        super().__init__()
        expanded = block.expand_channels
        self.has_residual = block.has_residual
        self.expand = (
            ConvNormAct(block.in_channels, expanded, options, act=block.act) if block.has_expand else nn.Identity()
        )
        self.depthwise = ConvNormAct(
            expanded,
            expanded,
            options,
            kernel=block.kernel,
            stride=block.stride,
            dilation=block.dilation,
            groups=expanded,
            act=block.act,
        )
        self.se = SqueezeExcite(expanded, block.se_channels) if block.se_channels else nn.Identity()
        self.project = ConvNormAct(expanded, block.out_channels, options)

    def stop_after(self, inner: Literal["expand", "depthwise"]) -> None:
        """Drop the layers that the map called `inner` does not need; what follows it passes through."""
        for name in ("se", "project") if inner == "depthwise" else ("depthwise", "se", "project"):
            setattr(self, name, nn.Identity())
        self.has_residual = False

    def maps(self, x: Tensor) -> BlockMaps:
        """Run the block and return its inner tensors beside its output."""
        expand = self.expand(x)
        depthwise = self.depthwise(expand)
        out = self.project(self.se(depthwise))
        return BlockMaps(expand, depthwise, x + out if self.has_residual else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).out
