"""A network that knows what it is: architecture, classes and preprocessing travel with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from hswish.spec.architecture import Architecture
from hswish.spec.artifact import Description
from hswish.spec.errors import HswishError, OptionError
from hswish.spec.preprocess import Preprocess


class DescribedModule(nn.Module):
    """Base of the networks that can be saved as one file.

    Attributes:
        architecture: every number of the network, resolved.
        description: what `hswish.save` writes beside the weights.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.architecture = arch
        self.description = default_description(arch)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in output order."""
        return self.description.classes

    @property
    def preprocess(self) -> Preprocess:
        """From a picture to this network's input."""
        return self.description.preprocess

    def describe(self, **changes: Any) -> None:
        """Set fields of the description: `classes`, `preprocess`, `metrics`, `provenance`.

        Raises:
            OptionError: as many class names as outputs are needed, preprocessing that makes the
                network's channels, and nothing that JSON cannot hold.
        """
        description = replace(self.description, **changes)
        outputs = self.architecture.options.num_classes
        if len(description.classes) != outputs:
            raise OptionError(f"{len(description.classes)} class names for a network with {outputs} outputs")
        try:  # what a file would give back, so that whatever is saved can be loaded
            self.description = Description.from_json(description.to_json())
        except (HswishError, TypeError, ValueError) as error:
            raise OptionError(f"a model file cannot hold this {' or '.join(changes)}: {error}") from error


def default_description(arch: Architecture) -> Description:
    """Numbered classes, and the preprocessing of the paper's task: 224 pixels, or half Cityscapes."""
    if arch.task == "segmentation":
        preprocess = Preprocess(height=512, width=1024, resize="shorter")
    else:
        preprocess = Preprocess(height=224, width=224, resize="crop", crop_fraction=0.875)
    if arch.options.in_channels == 1:
        preprocess = replace(preprocess, channels="L", mean=(0.449,), std=(0.226,))
    return Description(
        model=arch.name,
        options=arch.options_dict(),
        classes=tuple(str(index) for index in range(arch.options.num_classes)),
        preprocess=preprocess,
    )
