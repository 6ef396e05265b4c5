"""Keras: `MobileNetV3Large`, `MobileNetV3Small`, with a classifier; any `alpha`, `minimalistic` or not.

Facts from keras 3.15, `keras/src/applications/mobilenet_v3.py`. `keras_files.py` reads and writes the
files, `keras_layers.py` knows what the layers are called in them.

A network that Keras makes without an input size pads every map as if its sides were even, which is
SAME at 224 and other multiples of 32; here SAME is meant at any size, as with an input size there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from hswish.models.adapters.base import Adapter, Network, Pair, Weights
from hswish.models.adapters.files import Checkpoint, kind_of, read_torch_checkpoint, sha256_of
from hswish.models.adapters.keras_files import read_archive, read_hdf5, write_legacy, write_modern
from hswish.models.adapters.keras_layers import layers, named, places
from hswish.models.adapters.matching import looks_like
from hswish.spec.architecture import Architecture, resolve
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.preprocess import Preprocess

COMMON: dict[str, Any] = {
    "options": {"width_rule": "keras", "padding": "same", "bn_eps": 1e-3, "bn_momentum": 0.001},
    "choices": {"width_mult": (1.0, 0.75, 0.5, 0.35, 0.25, 1.25, 1.5, 2.0)},
    # Keras states no evaluation crop; the weights are TF-Slim's, which takes the middle 0.875. (Stretching, as
    # `load_img` does, was measured 4.6 points lower: keras issue 16982.) The networks scale to -1 ... 1 themselves.
    "preprocess": Preprocess(
        height=224, width=224, resize="crop", crop_fraction=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    ),
    "weights": (Weights(tag="imagenet"),),
}
NETWORKS = (
    Network(name="MobileNetV3Large", model="mobilenet_v3_large", **COMMON),
    Network(name="MobileNetV3Small", model="mobilenet_v3_small", **COMMON),
    Network(name="MobileNetV3LargeMinimalistic", model="mobilenet_v3_large_minimal", **COMMON),
    Network(name="MobileNetV3SmallMinimalistic", model="mobilenet_v3_small_minimal", **COMMON),
)


class Keras(Adapter):
    """keras.applications."""

    library: ClassVar[str] = "keras"
    kinds: ClassVar[tuple[str, ...]] = ("hdf5", "keras")
    suffixes: ClassVar[tuple[str, ...]] = (".h5",)

    @property
    def networks(self) -> tuple[Network, ...]:
        return NETWORKS

    def pairs(self, arch: Architecture) -> list[Pair]:
        return [pair for layer in layers(arch) for pair in layer.pairs]

    def read(self, path: Path, *, ema: bool = True) -> Checkpoint:
        """A `.h5`, `.weights.h5` or `.keras` file; with an optimizer that averages, its weights are the last ones."""
        kind = kind_of(path)
        if kind not in self.kinds:
            raise ModelFileError(f"{path}: no file of Keras (.h5, .weights.h5, .keras) but {_other(path, kind)}")
        content = read_hdf5(path) if kind == "hdf5" else read_archive(path)
        tensors = named(path, content)
        if "conv_1/kernel" in tensors and not tensors.keys() & {"conv_2/kernel", "logits/kernel"}:
            raise ModelFileError(
                f"{path}: a network without its classifier (include_top=False, or with other layers on top); "
                "save one made with include_top=True"
            )
        return Checkpoint(path=path, sha256=sha256_of(path), tensors=tensors, about=content.config)

    def write(self, path: Path, state: dict[str, Tensor]) -> None:
        """`.weights.h5` for Keras 3 alone, any other `.h5` for Keras 2 and 3; both by `model.load_weights`."""
        if path.name.lower().endswith(".weights.h5"):
            known = (places(layers(resolve(network.model))) for network in NETWORKS)
            names = next(names for names in known if names.keys() == state.keys())
            write_modern(path, {names[name]: tensor for name, tensor in state.items()})
        else:
            write_legacy(path, state)

    def adjust(self, checkpoint: Checkpoint, network: Network, changes: dict[str, Any]) -> dict[str, Any]:
        """The input size that a whole model's file states."""
        try:
            first = checkpoint.about["config"]["layers"][0]["config"]
            _, height, width, _ = first.get("batch_shape") or first["batch_input_shape"]
            return {**changes, "preprocess": replace(changes["preprocess"], height=height, width=width)}
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OptionError):
            return changes  # none is stated, or any size will do


def _other(path: Path, kind: str) -> str:
    """What a file is that is none of Keras."""
    if kind not in ("torch", "safetensors"):
        return "something else, or a damaged one; fetch it again"
    alike = looks_like(read_torch_checkpoint(path).shapes)
    return "a checkpoint of PyTorch" + (f"; this looks like {' or '.join(alike)}" if alike else "; name its library")
