"""torchvision: `mobilenet_v3_large`, `mobilenet_v3_small`, `lraspp_mobilenet_v3_large`.

Facts from pytorch/vision 0.29, `torchvision/models/mobilenetv3.py`, `models/segmentation/lraspp.py`
and `transforms/_presets.py`; checkpoints of its training scripts from `references/`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from hswish.models.adapters.base import Adapter, Network, Pair, Weights, conv_norm, weight_bias
from hswish.models.adapters.files import Checkpoint
from hswish.spec.architecture import Architecture, Block
from hswish.spec.errors import OptionError
from hswish.spec.preprocess import Preprocess

V1 = Preprocess(height=224, width=224, resize="crop", crop_fraction=224 / 256)
"""`ImageClassification(crop_size=224)`: shorter side to 256, bilinear with antialias"""
V2 = replace(V1, crop_fraction=224 / 232)
"""`ImageClassification(crop_size=224, resize_size=232)`"""
SEGMENTATION = Preprocess(height=520, width=520, resize="shorter")
"""`SemanticSegmentation(resize_size=520)`"""

CLASSIFIER: dict[str, Any] = {
    # `dilated=True` gives the last stage's stride up: output stride 16. No tensor's shape tells.
    "options": {"width_rule": "torchvision", "atrous_rule": "torchvision", "output_stride": 32},
    "choices": {
        "width_mult": (1.0, 0.75, 0.5, 0.35, 0.25, 1.25, 1.5, 2.0),
        "reduced_tail": (False, True),
        "output_stride": (32,),
    },
    "preprocess": V1,
}

NETWORKS = (
    Network(
        name="mobilenet_v3_large",
        model="mobilenet_v3_large",
        weights=(
            Weights(tag="IMAGENET1K_V1", sha256="8738ca79"),
            Weights(tag="IMAGENET1K_V2", sha256="5c1a4163", preprocess=V2),
        ),
        **CLASSIFIER,
    ),
    Network(
        name="mobilenet_v3_small",
        model="mobilenet_v3_small",
        weights=(Weights(tag="IMAGENET1K_V1", sha256="047dcff4"),),
        **CLASSIFIER,
    ),
    Network(
        name="lraspp_mobilenet_v3_large",
        model="lraspp_mobilenet_v3_large",
        options={"head": "torchvision"},
        preprocess=SEGMENTATION,
        labels="voc21",
        weights=(Weights(tag="COCO_WITH_VOC_LABELS_V1", sha256="d234d4ea", labels="voc21"),),
    ),
)


class Torchvision(Adapter):
    """pytorch/vision."""

    library: ClassVar[str] = "torchvision"

    @property
    def networks(self) -> tuple[Network, ...]:
        return NETWORKS

    def pairs(self, arch: Architecture) -> list[Pair]:
        """Every tensor of `arch`.

        Raises:
            OptionError: dilated further than torchvision does.
        """
        if arch.options.output_stride == 8:
            raise OptionError("torchvision dilates the last stage alone, by dilated=True: output stride 16, not 8")
        if arch.task == "segmentation":
            return _backbone(arch, "backbone") + _lraspp_head()
        return [
            *_backbone(arch, "features"),
            *weight_bias("head.hidden", "classifier.0"),
            *weight_bias("head.classifier", "classifier.3"),
        ]

    def adjust(self, checkpoint: Checkpoint, network: Network, changes: dict[str, Any]) -> dict[str, Any]:
        """The sizes with which the reference classification script evaluated."""
        crop, resize = checkpoint.about.get("val_crop_size"), checkpoint.about.get("val_resize_size")
        if network.labels != "imagenet1k" or not isinstance(crop, int) or not isinstance(resize, int):
            return changes
        mode = checkpoint.about.get("interpolation", "bilinear")
        try:
            preprocess = replace(
                V1, height=crop, width=crop, crop_fraction=min(1.0, crop / resize), interpolation=str(mode)
            )
        except (OptionError, ArithmeticError):  # settings of somebody's own making
            return changes
        return {**changes, "preprocess": preprocess}


def _backbone(arch: Architecture, root: str) -> list[Pair]:
    """`features` of a classifier, `backbone` of a segmenter: stem, blocks and last convolution in one row."""
    net = arch.backbone
    pairs = conv_norm("backbone.stem", f"{root}.0.0", f"{root}.0.1")
    for index, block in enumerate(net.blocks):
        pairs += _block(block, f"backbone.blocks.{index}", f"{root}.{index + 1}.block")
    end = f"{root}.{len(net.blocks) + 1}"
    return pairs + conv_norm("backbone.last", f"{end}.0", f"{end}.1")


def _block(block: Block, ours: str, theirs: str) -> list[Pair]:
    """The parts that a block has are numbered in their order."""
    parts = (
        (["expand"] if block.has_expand else []) + ["depthwise"] + (["se"] if block.se_channels else []) + ["project"]
    )
    pairs = []
    for number, part in enumerate(parts):
        there = f"{theirs}.{number}"
        if part == "se":
            pairs += weight_bias(f"{ours}.se.reduce", f"{there}.fc1") + weight_bias(f"{ours}.se.expand", f"{there}.fc2")
        else:
            pairs += conv_norm(f"{ours}.{part}", f"{there}.0", f"{there}.1")
    return pairs


def _lraspp_head() -> list[Pair]:
    return [
        *conv_norm("head.features", "classifier.cbr.0", "classifier.cbr.1"),
        Pair("head.gate.weight", "classifier.scale.1.weight"),
        *weight_bias("head.project_low", "classifier.low_classifier"),
        *weight_bias("head.project_high", "classifier.high_classifier"),
    ]
