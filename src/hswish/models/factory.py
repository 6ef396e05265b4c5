"""From a name to a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from hswish.models.backbone import FeatureExtractor
from hswish.models.described import DescribedModule
from hswish.models.mobilenetv3 import MobileNetV3
from hswish.models.segmenter import Segmenter
from hswish.spec.architecture import MODEL_NAMES, Architecture, resolve
from hswish.spec.errors import OptionError


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return list(MODEL_NAMES)


def create_model(
    name: str, *, features_only: bool = False, taps: Sequence[str] | None = None, **options: Any
) -> nn.Module:
    """A freshly initialised network.

    Args:
        name: one of `list_models()`.
        features_only: return the backbone as a list of feature maps, with `.feature_info`.
        taps: which maps, by name (`blocks.5`, `blocks.5.expand`, `blocks.5.depthwise`, `last`);
            one per stride by default. Only with `features_only`.
        options: fields of `hswish.spec.architecture.Options`, such as `num_classes`,
            `width_mult`, `dropout`, `in_channels`, `output_stride`, `reduced_tail`, `head`.

    Raises:
        OptionError: unknown model, option or tap (nearest names offered), or a value out of range.
    """
    arch = resolve(name, **options)
    if taps is not None and not features_only:
        raise OptionError("taps are feature maps: pass features_only=True as well")
    model = FeatureExtractor(arch, taps) if features_only else build(arch)
    initialise(model)
    return model


def build(arch: Architecture) -> DescribedModule:
    """The module for a resolved architecture, weights as torch leaves them."""
    return Segmenter(arch) if arch.task == "segmentation" else MobileNetV3(arch)


def initialise(model: nn.Module) -> None:
    """Draw fresh weights from torch's global generator (He et al. 2015, fan-out; linear N(0, 0.01²))."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)) and module.bias is not None:
            nn.init.zeros_(module.bias)
