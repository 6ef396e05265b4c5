"""From another library's file to a network of ours, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hswish.models.adapters.base import Adapter, Weights
from hswish.models.adapters.expressing import express
from hswish.models.adapters.files import Checkpoint
from hswish.models.adapters.matching import COUNTER, Match, find_match
from hswish.models.adapters.registry import ADAPTERS, get_adapter
from hswish.models.described import DescribedModule
from hswish.models.factory import build, create_model
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.labels import load_labels
from hswish.spec.preprocess import Preprocess

CLASSIFIER_SEED = 0
"""of the weights that a replaced classifier begins with, so that a conversion can be repeated"""


def convert(
    source: str,
    path: str | Path,
    *,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    ema: bool = True,
    **given: Any,
) -> DescribedModule:
    """The network in another library's checkpoint, in evaluation mode, with preprocessing and class names.

    Its answers are the library's own (tests hold them within 1e-4).

    Args:
        source: `LIBRARY`, `LIBRARY:NETWORK` or `LIBRARY:NETWORK.WEIGHTS`, in the library's own names:
            `torchvision`, `timm:mobilenetv3_large_100`, `timm:mobilenetv3_large_100.miil_in21k_ft_in1k`.
            Without WEIGHTS, a published file is recognised by its SHA-256.
        path: the file; `.pth`, `.pt`, `.bin`, `.safetensors`, or what the library writes.
        num_classes: replace the classifier by a new, untrained one, where the file's has another size.
        classes: names for the outputs; the library's own otherwise, where the number is right.
        ema: prefer averaged weights where a training checkpoint has both.
        given: options that the library lets its users set, where the tensors do not tell or for
            strictness: `width_mult`, `reduced_tail`, `output_stride`.

    Raises:
        ModelFileError: no such file, damaged, more than weights, or not that network: every tensor
            must be there with its shape, and no other.
        OptionError: an unknown library, network or option, or class names in the wrong number.
    """
    library, name, tag = parse_source(source)
    adapter = get_adapter(library)
    checkpoint = adapter.read(Path(path), ema=ema)
    match = find_match(adapter, checkpoint, name, given)
    weights = recognised = match.network.recognise(checkpoint.sha256)
    if tag:
        weights = match.network.published(tag)
        if recognised and recognised is not weights:
            known = f"{match.network.name}.{recognised.tag}"
            raise ModelFileError(f"{checkpoint.path}: is {known} by its SHA-256; name those weights")
    model = _filled(adapter, match, checkpoint, num_classes)
    _describe(model, adapter, match, weights, checkpoint)
    if classes is not None:
        _name_outputs(model, classes, checkpoint.path)
    return model.eval()


def export_state(model: nn.Module, library: str) -> dict[str, Tensor]:
    """The state dict that `library` loads strictly: its names, shapes, order and types.

    Raises:
        OptionError: not a network of ours, or one that the library cannot express; says why.
    """
    if not isinstance(model, DescribedModule):
        raise OptionError(f"only a whole hswish network can be converted, not a {type(model).__name__}")
    adapter = get_adapter(library)
    express(adapter, model.architecture)
    state = model.state_dict()
    return {
        pair.theirs: pair.layout.to_theirs(state[pair.ours]).detach().cpu().clone(memory_format=torch.contiguous_format)
        for pair in adapter.pairs(model.architecture)
    }


def export_file(model: nn.Module, library: str, path: str | Path) -> str:
    """Write `model` as a file of `library`; returns the library's name of the network.

    Raises:
        OptionError: a network that the library cannot express, or a wrong ending of the file name.
        SaveError: the disk is full or the folder not writable.
    """
    adapter, path = get_adapter(library), Path(path)
    adapter.check_suffix(path)
    state = export_state(model, library)
    adapter.write(path, state)
    assert isinstance(model, DescribedModule)
    return express(adapter, model.architecture).name


def parse_source(source: str) -> tuple[str, str | None, str | None]:
    """`LIBRARY[:NETWORK[.WEIGHTS]]` to its parts.

    Raises:
        OptionError: an unknown library, or no such form.
    """
    library, colon, rest = source.partition(":")
    get_adapter(library)
    name, dot, tag = rest.partition(".")
    if (colon and not name) or (dot and not tag):
        raise OptionError(
            f"{source!r:.80}: write LIBRARY, LIBRARY:NETWORK or LIBRARY:NETWORK.WEIGHTS; libraries: "
            f"{', '.join(ADAPTERS)}"
        )
    return library, name or None, tag or None


# --- Weights -------------------------------------------------------------------------------


def _filled(adapter: Adapter, match: Match, checkpoint: Checkpoint, num_classes: int | None) -> DescribedModule:
    """The network with the checkpoint's weights, and a new classifier where another size is wanted."""
    with torch.device("meta"):
        model = build(match.architecture)
    state = _our_state(adapter, match, checkpoint, model.state_dict())
    if num_classes is not None and num_classes != match.architecture.options.num_classes:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(CLASSIFIER_SEED)
            fresh = create_model(match.network.model, **{**match.options, "num_classes": num_classes})
        assert isinstance(fresh, DescribedModule)
        new = fresh.state_dict()
        state = {name: tensor if tensor.shape == new[name].shape else new[name] for name, tensor in state.items()}
        model = fresh
    model.load_state_dict(state, assign=True)
    return model


def _our_state(
    adapter: Adapter, match: Match, checkpoint: Checkpoint, expected: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The checkpoint's tensors under our names, as our types, in memory of their own."""
    pairs = {pair.ours: pair for pair in adapter.pairs(match.architecture)}
    state = {}
    for name, like in expected.items():
        pair = pairs.get(name)
        if pair is None or pair.theirs not in checkpoint.tensors:
            assert name.endswith(COUNTER)  # the match has seen to all others
            state[name] = torch.zeros((), dtype=like.dtype)
            continue
        tensor = checkpoint.tensors[pair.theirs]
        if tensor.is_floating_point() != like.is_floating_point():
            raise ModelFileError(
                f"{checkpoint.path}: {pair.theirs} is stored as {tensor.dtype}, which is no type for it"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelFileError(
                f"{checkpoint.path}: {pair.theirs} holds numbers that are not finite; take an earlier checkpoint"
            )
        ours = pair.layout.to_ours(tensor).to(like.dtype)
        state[name] = ours.clone(memory_format=torch.contiguous_format)
    return state


# --- Description ---------------------------------------------------------------------------


def _describe(
    model: DescribedModule, adapter: Adapter, match: Match, weights: Weights | None, checkpoint: Checkpoint
) -> None:
    """Preprocessing, class names and origin, as the library and the file have them."""
    network, options = match.network, model.architecture.options
    new_classifier = options.num_classes != match.options["num_classes"]
    labels = weights.labels if weights else network.labels
    found: dict[str, Any] = {
        "preprocess": (weights.preprocess if weights else None) or network.preprocess,
        "classes": load_labels(labels) if labels else (),
    }
    found = adapter.adjust(checkpoint, network, found)
    if new_classifier or len(found["classes"]) != options.num_classes:
        found["classes"] = model.classes
    if options.in_channels != found["preprocess"].channel_count:
        found["preprocess"] = _for_channels(found["preprocess"], model.preprocess)
    origin = {
        "library": adapter.library,
        "network": network.name,
        "weights": weights.tag if weights else None,
        "file": checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "averaged": checkpoint.averaged,
        "new_classifier": new_classifier,
    }
    model.describe(**found, provenance={"converted_from": origin})


def _name_outputs(model: DescribedModule, classes: Sequence[str], path: Path) -> None:
    outputs = model.architecture.options.num_classes
    if len(classes) != outputs:
        raise OptionError(
            f"{path}: {len(classes)} class names for {outputs} outputs; to replace the classifier by a new one "
            f"of that size, to be trained, add --num-classes {len(classes)}"
        )
    model.describe(classes=tuple(classes))


def _for_channels(wanted: Preprocess, default: Preprocess) -> Preprocess:
    """The library's sizes with our mean and std, for a network that takes no RGB."""
    return replace(wanted, channels=default.channels, mean=default.mean, std=default.std)
