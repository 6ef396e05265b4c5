"""Starting from trained weights: what fits is copied, the class layers are drawn afresh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hswish.hub import locate
from hswish.models import DescribedModule
from hswish.spec.architecture import Block, make_options
from hswish.spec.artifact import read_description
from hswish.spec.errors import OptionError

_CLASS_LAYERS = ("head.classifier", "head.project_")
_LEARNING_OPTIONS = ("num_classes", "dropout", "bn_momentum")
"""Options that say how a network learns, or what: those of the weights it starts from do not count."""
_OWN_OPTIONS = (*_LEARNING_OPTIONS, "reduced_tail", "tail", "output_stride", "keep_size")
"""Options that a segmenter does not take over from the classifier whose backbone it starts from."""


def _grows_from(model: str, start: str) -> bool:
    """Whether `model` is the segmenter on the backbone of the classifier `start`."""
    return model == f"lraspp_{start}"


def inherited_options(weights: str | Path, model: str) -> dict[str, Any]:
    """What makes `weights` the network it is (width, padding, epsilon, ...); nothing where it is another one."""
    description = read_description(locate(weights))
    if _grows_from(model, description.model):
        own: tuple[str, ...] = _OWN_OPTIONS
    elif description.model == model:
        own = _LEARNING_OPTIONS
    else:  # refused with the remedy when its weights are copied
        return {}
    return {name: value for name, value in description.options.items() if name not in own}


def not_inherited(asked: dict[str, Any], inherited: dict[str, Any], model: str) -> dict[str, Any]:
    """Those of a recipe's options that `inherited` weights leave at their defaults; what they chose stays."""
    usual = make_options(model)
    return {name: value for name, value in asked.items() if inherited.get(name) in (None, getattr(usual, name, None))}


@torch.no_grad()
def transfer(start: DescribedModule, model: DescribedModule, classes: tuple[str, ...], name: str) -> str:
    """Copy the weights of `start` into `model`; returns a sentence that says what was copied.

    The class layers are copied only if the class names agree, in order. A segmenter may start from its
    backbone's classifier: the head is drawn afresh then, and so is what its halved last stage changes.

    Raises:
        OptionError: the two are different networks.
    """
    ours, theirs = model.architecture, start.architecture
    grown = _grows_from(ours.name, theirs.name)
    if ours.name != theirs.name and not grown:
        backbone = ours.name.removeprefix("lraspp_")
        also = "" if backbone == ours.name else f"; or start from a {backbone}"
        raise OptionError(f"{name} is a {theirs.name}, not a {ours.name}; use --model {theirs.name}{also}")
    same_classes = start.classes == classes
    last_stage = _last_stage(ours.backbone.blocks) if grown else ()
    source = start.state_dict()
    fresh = set()
    for key, value in model.state_dict().items():
        fits = key in source and source[key].shape == value.shape
        may_differ = key.startswith(("head.", *last_stage) if grown else _CLASS_LAYERS)
        if fits and (same_classes or not key.startswith(_CLASS_LAYERS)):
            value.copy_(source[key])
        elif may_differ:
            fresh.add(("head" if key.startswith("head.") else "last stage") if grown else key.rpartition(".")[0])
        else:
            raise OptionError(f"{name}: {key} has another shape; give the same options (--width-mult, ...)")
    if not fresh:
        return f"started from {name}, all weights"
    reason = "a classifier" if grown else "new classes"
    return f"started from {name}; {reason}, so drawn afresh: {', '.join(sorted(fresh))}"


def _last_stage(blocks: tuple[Block, ...]) -> tuple[str, ...]:
    """Names, as weights begin with them, of the layers that `reduced_tail` halves."""
    first = len(blocks) - 1
    while first > 0 and blocks[first - 1].out_channels == blocks[-1].out_channels:
        first -= 1
    return ("backbone.last.", *(f"backbone.blocks.{index}." for index in range(first, len(blocks))))
