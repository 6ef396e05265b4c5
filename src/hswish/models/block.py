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

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.models.activations import HSigmoid, activation
from hswish.spec.architecture import Activation, Block, Options


@torch.fx.wrap
def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around (N, C, H, W) so that a strided convolution gives ceil(H / stride), as TensorFlow pads.

    An odd total puts the extra row below and the extra column on the right: on even sizes a stride
    of 2 samples other pixels than symmetric padding does. The kernel is no smaller than the stride.
    """
    total: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        short = -(-size // stride) * stride - size + kernel - stride  # never negative: no branch for tracers to freeze
        total += [short // 2, short - short // 2]
    return F.pad(x, total)


class SameConv2d(nn.Conv2d):
    """Strided convolution with TensorFlow's SAME padding, which depends on the input's size."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, non-linearity; padded so that stride 1 keeps the size."""

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
        bn_eps: float | None = None,
    ) -> None:
        super().__init__()
        same = options.padding == "same" and stride > 1  # at stride 1 SAME is symmetric
        padding = 0 if same else (kernel - 1) // 2 * dilation
        self.conv = (SameConv2d if same else nn.Conv2d)(
            in_channels, out_channels, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=bn_eps or options.bn_eps, momentum=options.bn_momentum)
        if act is not None:
            self.act = activation(act)


class SqueezeExcite(nn.Module):
    """Channel attention after the depthwise convolution (section 5.3).

    Squeeze to 1 x 1 x C by global pooling, C -> C/4 -> C by two 1x1 convolutions with ReLU
    and h-sigmoid, then scale the map.
    """

    def __init__(self, channels: int, squeeze_channels: int, act: Activation = "relu") -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.act = activation(act)
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)
        self.gate = HSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(self.pool(x))

    def attention(self, pooled: Tensor) -> Tensor:
        """The gates of (N, C, 1, 1) means, as many."""
        gates: Tensor = self.gate(self.expand(self.act(self.reduce(pooled))))
        return gates


class BlockMaps(NamedTuple):
    """The tensors of a block that other heads may tap."""

    expand: Tensor
    """(N, expand, H, W), after the non-linearity"""
    depthwise: Tensor
    """(N, expand, H/s, W/s), after the non-linearity, before squeeze-and-excitation (the paper's order)"""
    out: Tensor
    """(N, out, H/s, W/s)"""


class InvertedResidual(nn.Module):
    """One row of Table 1 or 2."""

    def __init__(self, block: Block, options: Options) -> None:
        super().__init__()
        expanded = block.expand_channels
        self.has_residual = block.has_residual
        self.se_first = block.se_first
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
            act=None if block.se_first else block.act,
        )
        self.se = SqueezeExcite(expanded, block.se_channels, block.se_act) if block.se_channels else nn.Identity()
        if block.se_first:
            self.act = activation(block.act)
        self.project = ConvNormAct(expanded, block.out_channels, options)

    def stop_after(self, inner: Literal["expand", "depthwise"]) -> None:
        """Drop the layers that the map called `inner` does not need; what follows it passes through."""
        idle = ["project"] if self.se_first else ["se", "project"]
        for name in idle if inner == "depthwise" else ("depthwise", "se", "project"):
            setattr(self, name, nn.Identity())
        self.has_residual = False

    def maps(self, x: Tensor) -> BlockMaps:
        """Run the block and return its inner tensors beside its output."""
        expand = self.expand(x)
        depthwise = self.depthwise(expand)
        if self.se_first:
            depthwise = self.act(self.se(depthwise))
            out = self.project(depthwise)
        else:
            out = self.project(self.se(depthwise))
        return BlockMaps(expand, depthwise, x + out if self.has_residual else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).out
