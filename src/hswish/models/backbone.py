"""Stem, blocks and last convolution, with named taps for whoever builds on the features."""

# No `from __future__ import annotations`: torch.fx copies them into its graphs, and as strings
# they could not be pickled.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from hswish.models.block import ConvNormAct, InvertedResidual
from hswish.spec.architecture import Architecture
from hswish.spec.errors import unknown_name


class Backbone(nn.Module):
    """(N, in_channels, H, W) to (N, last_channels, H/32, W/32); any size, odd ones rounded up."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        net, options = arch.backbone, arch.options
        self.stem = ConvNormAct(
            net.in_channels, net.stem_channels, options, kernel=3, stride=net.stem_stride, act=net.act
        )
        self.blocks = nn.ModuleList(InvertedResidual(block, options) for block in net.blocks)
        last = [ConvNormAct(net.blocks[-1].out_channels, net.last_channels, options, act=net.act)]
        last += [
            ConvNormAct(net.last_channels, net.last_channels, options, act=net.act) for _ in range(net.last_convs - 1)
        ]
        self.last = last[0] if len(last) == 1 else nn.Sequential(*last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)

    def taps(self, x: Tensor, names: Sequence[str]) -> list[Tensor]:
        """The maps called `names` (see `feature_table`), in that order; nothing beyond the last is run."""
        maps: dict[str, Tensor] = {}
        x = maps["stem"] = self.stem(x)
        deepest = max(_depth(name, len(self.blocks)) for name in names)
        for index, block in enumerate(self.blocks):
            if index > deepest:
                break
            inner = cast(InvertedResidual, block).maps(x)
            x = inner.out
            maps[f"blocks.{index}.expand"] = inner.expand
            maps[f"blocks.{index}.depthwise"] = inner.depthwise
            maps[f"blocks.{index}"] = x
        if "last" in names:
            maps["last"] = self.last(x)
        return [maps[name] for name in names]


@dataclass(frozen=True, kw_only=True)
class FeatureInfo:
    """One map of a `features_only` network."""

    name: str
    channels: int
    stride: int
    """input size over the map's size"""


def feature_table(arch: Architecture) -> dict[str, FeatureInfo]:
    """Every map that can be tapped, by name, in order of depth.

    `stem`; `blocks.I` (output), `blocks.I.expand`, `blocks.I.depthwise`; `last`.
    """
    net = arch.backbone
    infos = [FeatureInfo(name="stem", channels=net.stem_channels, stride=net.stem_stride)]
    grid = net.stem_stride
    for index, block in enumerate(net.blocks):
        name = f"blocks.{index}"
        infos.append(FeatureInfo(name=f"{name}.expand", channels=block.expand_channels, stride=grid))
        grid = block.output_stride
        infos.append(FeatureInfo(name=f"{name}.depthwise", channels=block.expand_channels, stride=grid))
        infos.append(FeatureInfo(name=name, channels=block.out_channels, stride=grid))
    infos.append(FeatureInfo(name="last", channels=net.last_channels, stride=grid))
    return {info.name: info for info in infos}


def default_taps(arch: Architecture) -> tuple[str, ...]:
    """The deepest block output at each stride, and the last convolution instead of the deepest block."""
    deepest = {block.output_stride: f"blocks.{index}" for index, block in enumerate(arch.backbone.blocks)}
    stem = arch.backbone.stem_stride
    if stem not in deepest:  # Small leaves stride 2 with its first block
        deepest = {stem: "stem", **deepest}
    deepest[max(deepest)] = "last"
    return tuple(deepest[stride] for stride in sorted(deepest))


class FeatureExtractor(nn.Module):
    """The backbone as a list of feature maps, for a decoder of the user's own.

    Attributes:
        feature_info: name, channels and stride of each map, in the order they are returned.

    Raises:
        OptionError: an unknown tap; the nearest names are offered.
    """

    def __init__(self, arch: Architecture, taps: Sequence[str] | None = None) -> None:
        super().__init__()
        table = feature_table(arch)
        self.tap_names = tuple(taps or default_taps(arch))
        for name in self.tap_names:
            if name not in table:
                raise unknown_name("feature map", name, table)
        self.feature_info = [table[name] for name in self.tap_names]
        self.backbone = Backbone(arch)
        if "last" not in self.tap_names:
            _drop_idle(self.backbone, max(self.tap_names, key=list(table).index))

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.backbone.taps(x, self.tap_names)


def _drop_idle(backbone: Backbone, deepest: str) -> None:
    """Delete the weights that the map called `deepest`, and those before it, do not need."""
    del backbone.last
    del backbone.blocks[_depth(deepest, len(backbone.blocks)) + 1 :]
    for inner in ("expand", "depthwise"):
        if deepest.endswith(f".{inner}"):
            cast(InvertedResidual, backbone.blocks[-1]).stop_after(inner)


def _depth(name: str, blocks: int) -> int:
    """Index of the last block that the map called `name` needs; -1 for the stem."""
    if name == "stem":
        return -1
    return blocks - 1 if name == "last" else int(name.split(".")[1])
