"""d-li14/mobilenetv3.pytorch: `mobilenetv3_large`, `mobilenetv3_small`.

Facts from its `mobilenetv3.py` at commit 3e6938c, whose parameter counts are those of the published
weights. Against the paper's authors, the squeeze-and-excitation of an expanding block stands before
the depthwise non-linearity, and batch norm has torch's epsilon.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hswish.models.adapters.base import Adapter, Layout, Network, Pair, Weights, conv_norm, weight_bias
from hswish.spec.architecture import Architecture, Block
from hswish.spec.errors import OptionError
from hswish.spec.preprocess import Preprocess

CONV_AS_LINEAR = Layout(to_ours=lambda x: x[:, :, None, None], to_theirs=lambda x: x.flatten(1))
"""our 1x1 convolution (O, I, 1, 1), their Linear (O, I)"""

COMMON: dict[str, Any] = {
    "options": {"block_rule": "se_before_activation", "bn_eps": 1e-5, "bn_momentum": 0.1},
    "choices": {"width_mult": (1.0, 0.75, 0.5)},
    # The repository has no evaluation script; its figures are those of torch's ImageNet example.
    "preprocess": Preprocess(height=224, width=224, resize="crop", crop_fraction=224 / 256),
}
# The repository tells its weights apart by width alone, so the tag is the file's.
NETWORKS = (
    Network(
        name="mobilenetv3_large",
        model="mobilenet_v3_large",
        weights=(Weights(tag="1.0", sha256="1cd25616"), Weights(tag="0.75", sha256="9632d2a8")),
        **COMMON,
    ),
    Network(
        name="mobilenetv3_small",
        model="mobilenet_v3_small",
        weights=(Weights(tag="1.0", sha256="55df8e1f"), Weights(tag="0.75", sha256="86c972c3")),
        **COMMON,
    ),
)


class DLi14(Adapter):
    """d-li14/mobilenetv3.pytorch."""

    library: ClassVar[str] = "d-li14"

    @property
    def networks(self) -> tuple[Network, ...]:
        return NETWORKS

    def pairs(self, arch: Architecture) -> list[Pair]:
        """Every tensor of `arch`.

        Raises:
            OptionError: a width at which this repository's rule gives other numbers than the authors'.
        """
        net = arch.backbone
        if arch.options.width_mult > 1 or net.last_channels != 6 * net.blocks[-1].out_channels:
            raise OptionError(
                f"d-li14 at width_mult {arch.options.width_mult} has a last convolution or a post-pool layer of "
                "another width; its own widths are 1.0 and 0.75"
            )
        pairs = conv_norm("backbone.stem", "features.0.0", "features.0.1")
        for index, block in enumerate(net.blocks):
            pairs += _block(block, f"backbone.blocks.{index}", f"features.{index + 1}.conv")
        return [
            *pairs,
            *conv_norm("backbone.last", "conv.0", "conv.1"),
            *weight_bias("head.hidden", "classifier.0"),
            *weight_bias("head.classifier", "classifier.3"),
        ]


def _block(block: Block, ours: str, theirs: str) -> list[Pair]:
    """Every module counts, activations and absent squeeze-and-excitations too."""
    if block.has_expand:  # 0 conv, 1 norm, 2 act, 3 depthwise, 4 norm, 5 se, 6 act, 7 conv, 8 norm
        pairs = conv_norm(f"{ours}.expand", f"{theirs}.0", f"{theirs}.1")
        depthwise, se, project = 3, 5, 7
    else:  # 0 depthwise, 1 norm, 2 act, 3 se, 4 conv, 5 norm
        pairs, depthwise, se, project = [], 0, 3, 4
    pairs += conv_norm(f"{ours}.depthwise", f"{theirs}.{depthwise}", f"{theirs}.{depthwise + 1}")
    if block.se_channels:
        pairs += weight_bias(f"{ours}.se.reduce", f"{theirs}.{se}.fc.0", CONV_AS_LINEAR)
        pairs += weight_bias(f"{ours}.se.expand", f"{theirs}.{se}.fc.2", CONV_AS_LINEAR)
    return pairs + conv_norm(f"{ours}.project", f"{theirs}.{project}", f"{theirs}.{project + 1}")
