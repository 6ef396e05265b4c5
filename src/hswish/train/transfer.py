"""Starting from trained weights: what fits is copied, the class layers are drawn afresh."""

from __future__ import annotations

import torch

from hswish.models import DescribedModule
from hswish.spec.errors import OptionError


@torch.no_grad()
def transfer(start: DescribedModule, model: DescribedModule, classes: tuple[str, ...], name: str) -> str:
    """Copy the weights of `start` into `model`; returns a sentence that says what was copied.

    The class layers are copied only if the class names agree, in order.

    Raises:
        OptionError: the two are different networks.
    """
    if start.architecture.name != model.architecture.name:
        raise OptionError(
            f"{name} is a {start.architecture.name}, not a {model.architecture.name}; "
            f"use --model {start.architecture.name}"
        )
    theirs, ours = start.state_dict(), model.state_dict()
    same_classes = start.classes == classes
    fresh = []
    for key, value in ours.items():
        class_layer = key.startswith(("head.classifier", "head.project_"))
        if theirs[key].shape == value.shape and (same_classes or not class_layer):
            value.copy_(theirs[key])
        elif class_layer:
            fresh.append(key.rsplit(".", 1)[0])
        else:
            raise OptionError(f"{name}: {key} has another shape; give the same options (--width-mult, ...)")
    if not fresh:
        return f"started from {name}, all weights"
    return f"started from {name}; new classes, so drawn afresh: {', '.join(sorted(set(fresh)))}"
