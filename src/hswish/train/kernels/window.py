"""How a depthwise convolution slides, as the kernels of training want to know it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Window(NamedTuple):
    """The same in both directions."""

    stride: int
    dilation: int
    padding: int

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Window | None:
        """That of `conv`; None where torch is to do the convolution."""
        kernel, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
        depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1
        fits = kernel in (3, 5) and (stride == 1 or (stride == 2 and dilation == 1)) and isinstance(conv.padding, tuple)
        return cls(stride, dilation, int(conv.padding[0])) if depthwise and fits else None

    def out_size(self, height: int, width: int, kernel: int) -> tuple[int, int]:
        """(height, width) of the answer to a map of this size."""
        reach = (kernel - 1) * self.dilation
        down, across = ((side + 2 * self.padding - reach - 1) // self.stride + 1 for side in (height, width))
        return down, across
