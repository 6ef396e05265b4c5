"""fastseg: `MobileV3Large`, `MobileV3Small`, its Cityscapes segmenters.

Facts from ekzhang/fastseg 0.1.2, `model/lraspp.py`, `model/mobilenetv3.py` and `model/base.py`; the
trunks are geffnet 1.0.2's `tf_mobilenetv3_*_100` up to the last convolution.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from hswish.models.adapters.base import Adapter, Network, Pair, Weights, conv_norm, weight_bias
from hswish.models.adapters.files import Checkpoint, write_pickle
from hswish.spec.architecture import Architecture, Block
from hswish.spec.errors import ModelFileError
from hswish.spec.preprocess import Preprocess

COMMON: dict[str, Any] = {
    "options": {"head": "fastseg", "bn_momentum": 0.1},
    "choices": {"head_channels": ()},
    # `predict` takes a picture at its own size; Cityscapes has 1024 x 2048.
    "preprocess": Preprocess(height=1024, width=2048, resize="shorter"),
    "labels": "cityscapes19",
}
# The published files are told apart by the width of the head.
NETWORKS = (
    Network(
        name="MobileV3Large",
        model="lraspp_mobilenet_v3_large",
        weights=(
            Weights(tag="F256", sha256="9b613ffd", labels="cityscapes19"),
            Weights(tag="F128", sha256="9cbabfde", labels="cityscapes19"),
        ),
        **COMMON,
    ),
    Network(
        name="MobileV3Small",
        model="lraspp_mobilenet_v3_small",
        weights=(
            Weights(tag="F256", sha256="d853f901", labels="cityscapes19"),
            Weights(tag="F128", sha256="a39a1e4b", labels="cityscapes19"),
            Weights(tag="F64", sha256="114fc23b", labels="cityscapes19"),
        ),
        **COMMON,
    ),
)


class Fastseg(Adapter):
    """ekzhang/fastseg."""

    library: ClassVar[str] = "fastseg"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth")

    @property
    def networks(self) -> tuple[Network, ...]:
        return NETWORKS

    def read(self, path: Path, *, ema: bool = True) -> Checkpoint:
        """The tensors in a file; its dilated pyramid (`use_aspp=True`) is another network and refused."""
        checkpoint = super().read(path, ema=ema)
        if any(name.startswith(("aspp_conv3.", "aspp_pool.")) for name in checkpoint.tensors):
            raise ModelFileError(
                f"{path}: made with use_aspp=True, a DeepLab pyramid of dilated convolutions and no Lite R-ASPP; "
                "only fastseg's default head can be converted"
            )
        return checkpoint

    def write(self, path: Path, state: dict[str, Tensor]) -> None:
        """What `from_pretrained` takes: the number of classes, and names as DataParallel has them."""
        content = {
            "num_classes": len(state["last.bias"]),
            "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        }
        write_pickle(path, content)

    def pairs(self, arch: Architecture) -> list[Pair]:
        return [
            *_trunk(arch),
            *conv_norm("head.features", "aspp_conv1.0", "aspp_conv1.1"),
            Pair("head.gate.weight", "aspp_conv2.1.weight"),
            Pair("head.skip_2.weight", "convs2.weight"),
            Pair("head.skip_4.weight", "convs4.weight"),
            *weight_bias("head.project", "conv_up1"),
            *conv_norm("head.fuse_4", "conv_up2.conv", "conv_up2.bn"),
            *conv_norm("head.fuse_2", "conv_up3.conv", "conv_up3.bn"),
            *weight_bias("head.classifier", "last"),
        ]


def _trunk(arch: Architecture) -> list[Pair]:
    """`trunk.blockSTAGE.PLACE`; a stage is a run of blocks of one output width, the last convolution one more."""
    pairs = conv_norm("backbone.stem", "trunk.early.0", "trunk.early.1")
    stages = groupby(enumerate(arch.backbone.blocks), key=lambda member: member[1].out_channels)
    stage = -1
    for stage, (_, members) in enumerate(stages):
        for place, (index, block) in enumerate(members):
            pairs += _block(block, f"backbone.blocks.{index}", f"trunk.block{stage}.{place}")
    end = f"trunk.block{stage + 1}.0"
    return pairs + conv_norm("backbone.last", f"{end}.conv", f"{end}.bn1")


def _block(block: Block, ours: str, theirs: str) -> list[Pair]:
    """geffnet numbers the batch norms, and names the projection after whether there is an expansion."""
    pairs = conv_norm(f"{ours}.expand", f"{theirs}.conv_pw", f"{theirs}.bn1") if block.has_expand else []
    first, project = (2, "conv_pwl") if block.has_expand else (1, "conv_pw")
    pairs += conv_norm(f"{ours}.depthwise", f"{theirs}.conv_dw", f"{theirs}.bn{first}")
    if block.se_channels:
        pairs += weight_bias(f"{ours}.se.reduce", f"{theirs}.se.conv_reduce")
        pairs += weight_bias(f"{ours}.se.expand", f"{theirs}.se.conv_expand")
    return pairs + conv_norm(f"{ours}.project", f"{theirs}.{project}", f"{theirs}.bn{first + 1}")
