"""The layers of Keras' MobileNetV3, and the names that they have in its files.

Facts from keras 3.15, `keras/src/applications/mobilenet_v3.py`, and from files of tf.keras 2.15.
Between the two, layers were renamed: `expanded_conv_1/expand/BatchNorm` is
`expanded_conv_1_expand_bn` now. Here a tensor is called `LAYER/VARIABLE`, by the newer names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from hswish.models.adapters.base import Layout, Pair
from hswish.models.adapters.keras_files import KerasFile
from hswish.spec.architecture import TABLES, Architecture, resolve
from hswish.spec.errors import ModelFileError

Kind = Literal["conv2d", "depthwise_conv2d", "batch_normalization"]

KERNEL = Layout(to_ours=lambda x: x.permute(3, 2, 0, 1), to_theirs=lambda x: x.permute(2, 3, 1, 0))
"""ours (O, I, H, W), theirs (H, W, I, O)"""
DEPTHWISE = Layout(to_ours=lambda x: x.permute(2, 3, 0, 1), to_theirs=lambda x: x.permute(2, 3, 0, 1))
"""ours (C, 1, H, W), theirs (H, W, C, 1)"""
LINEAR = Layout(to_ours=lambda x: x.permute(3, 2, 0, 1).flatten(1), to_theirs=lambda x: x.T[None, None])
"""ours a Linear (O, I), theirs a 1x1 convolution (1, 1, I, O)"""
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class Layer(NamedTuple):
    """A layer with weights."""

    kind: Kind
    """its class, as `.weights.h5` files count them"""
    name: str
    pairs: list[Pair]
    """its variables, in Keras' order"""


def layers(arch: Architecture) -> list[Layer]:
    """All layers with weights, in the order of the network."""
    found = _conv_norm("conv", "backbone.stem")
    for index, block in enumerate(arch.backbone.blocks):
        name = f"expanded_conv_{index}" if index else "expanded_conv"
        ours = f"backbone.blocks.{index}"
        if block.has_expand:
            found += _conv_norm(f"{name}_expand", f"{ours}.expand")
        found += _conv_norm(f"{name}_depthwise", f"{ours}.depthwise", depthwise=True)
        if block.se_channels:
            found.append(_conv_bias(f"{name}_squeeze_excite_conv", f"{ours}.se.reduce", KERNEL))
            found.append(_conv_bias(f"{name}_squeeze_excite_conv_1", f"{ours}.se.expand", KERNEL))
        found += _conv_norm(f"{name}_project", f"{ours}.project")
    found += _conv_norm("conv_1", "backbone.last")
    return [*found, _conv_bias("conv_2", "head.hidden", LINEAR), _conv_bias("logits", "head.classifier", LINEAR)]


def _conv_norm(name: str, ours: str, depthwise: bool = False) -> list[Layer]:
    kernel = Pair(f"{ours}.conv.weight", f"{name}/kernel", DEPTHWISE if depthwise else KERNEL)
    norm = [Pair(f"{ours}.norm.{here}", f"{name}_bn/{there}") for there, here in NORM.items()]
    return [
        Layer("depthwise_conv2d" if depthwise else "conv2d", name, [kernel]),
        Layer("batch_normalization", f"{name}_bn", norm),
    ]


def _conv_bias(name: str, ours: str, layout: Layout) -> Layer:
    return Layer(
        "conv2d", name, [Pair(f"{ours}.weight", f"{name}/kernel", layout), Pair(f"{ours}.bias", f"{name}/bias")]
    )


# --- Names in the files --------------------------------------------------------------------


def places(network: Iterable[Layer]) -> dict[str, str]:
    """`LAYER/VARIABLE` to its place in a `.weights.h5`: `layers/CLASS_COUNTER/vars/NUMBER`."""
    found: dict[str, str] = {}
    count: Counter[Kind] = Counter()
    for kind, _, pairs in network:
        group = f"{kind}_{count[kind]}" if count[kind] else kind
        count[kind] += 1
        found |= {pair.theirs: f"layers/{group}/vars/{number}" for number, pair in enumerate(pairs)}
    return found


def legacy_name(place: str) -> str:
    """`LAYER/VARIABLE` of a place in a `.h5`, `LAYER/LAYER/VARIABLE[:0]` in either dialect."""
    *groups, variable = place.split("/")
    half = len(groups) // 2
    layer = groups[:half] if groups[:half] == groups[half:] else groups
    variable = variable.removesuffix(":0").removeprefix("depthwise_")
    return "/".join(["_".join(layer).lower().replace("_batchnorm", "_bn"), variable])


def named(path: Path, content: KerasFile) -> dict[str, Tensor]:
    """A file's tensors by `LAYER/VARIABLE`; a place that no network has keeps a name of its own, and will not fit.

    Raises:
        ModelFileError: two tensors have one name.
    """
    networks = [layers(resolve(name)) for name in TABLES]
    if any(place.startswith("layers/") for place in content.tensors):
        return _by_count(content.tensors, networks)
    found = {legacy_name(place): tensor for place, tensor in content.tensors.items()}
    unique = len(found) == len(content.tensors)
    if unique and any(found.keys() == {pair.theirs for pair in _pairs(network)} for network in networks):
        return found
    if by_order := _by_order(content, networks):
        return by_order
    if not unique:
        raise ModelFileError(f"{path}: two tensors of one name in it; no file of Keras, or a damaged one")
    return found


def _by_count(tensors: dict[str, Tensor], networks: list[list[Layer]]) -> dict[str, Tensor]:
    """Of a `.weights.h5`: the smallest network that has all these places; it may lack the classifier."""
    known = [{place: name for name, place in places(network).items()} for network in networks]
    names = min((names for names in known if tensors.keys() <= names.keys()), key=len, default={})
    return {names.get(place, place): tensor for place, tensor in tensors.items()}


def _by_order(content: KerasFile, networks: list[list[Layer]]) -> dict[str, Tensor]:
    """Of a `.h5` whose layers have other names: the one after the other, as Keras itself loads it."""
    listed = [place for group in content.order for place in group]
    for network in networks:
        same = [len(layer.pairs) for layer in network] == [len(group) for group in content.order]
        if same and set(listed) == content.tensors.keys():
            return {pair.theirs: content.tensors[place] for pair, place in zip(_pairs(network), listed, strict=True)}
    return {}


def _pairs(network: list[Layer]) -> list[Pair]:
    return [pair for layer in network for pair in layer.pairs]
