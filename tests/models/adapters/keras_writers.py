"""Files as Keras writes them, made with h5py: what the tests of the Keras adapter read.

`keras-files-*.npz` hold what real files look like inside; a test holds these writers against them.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from tests.models.adapters.golden import FOLDER

Weights = dict[str, Tensor]
"""`LAYER/VARIABLE` with the names of Keras 3, in the network's order"""


def real_files(version: str) -> dict[str, Any]:
    """What `make_keras_files.py` found in the files of that Keras."""
    with np.load(FOLDER / f"keras-files-{version}.npz") as file:
        return json.loads(file["about"].tobytes())


def keras_2_name(layer: str) -> str:
    """`expanded_conv_1_expand_bn` as Keras 2 called it, `expanded_conv_1/expand/BatchNorm`."""
    found = re.fullmatch(r"(expanded_conv(?:_\d+)?)_(expand|depthwise|project|squeeze_excite_conv(?:_1)?)(_bn)?", layer)
    if found:
        part = found[2].replace("squeeze_excite_conv", "squeeze_excite/Conv")
        return f"{found[1]}/{part}" + ("/BatchNorm" if found[3] else "")
    return layer.capitalize().replace("_bn", "/BatchNorm")


def write_keras_2(path: Path, weights: Weights, prefix: str = "") -> None:
    """`save_weights('w.h5')` of Keras 2."""

    def variable(layer: str, name: str) -> str:
        return f"{keras_2_name(layer)}/{'depthwise_' if layer.endswith('depthwise') else ''}{name}:0"

    _write_legacy(path, weights, prefix, keras_2_name, variable, "2.15.0", "tensorflow")


def write_keras_3(path: Path, weights: Weights, prefix: str = "") -> None:
    """A legacy `.h5` of Keras 3."""
    _write_legacy(path, weights, prefix, str, lambda layer, name: f"{layer}/{name}", "3.15.1", "torch")


def write_whole(path: Path, weights: Weights, write: Callable[..., None] = write_keras_3, **config: Any) -> None:
    """`save('model.h5')`: the weights under `model_weights`, beside the configuration and the optimizer's."""
    write(path, weights, "model_weights/")
    with h5py.File(path, "r+") as file:
        layer = {"class_name": "InputLayer", "config": config}
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [layer]}})
        file.create_dataset("optimizer_weights/Adam/iteration:0", data=np.int64(7))


def write_modern(path: Path, weights: Weights, named: bool = True) -> None:
    """`save_weights('w.weights.h5')`: of Keras 3, or without the layers' names, as Keras 2 does."""
    count: Counter[str] = Counter()
    place: dict[str, str] = {}
    with h5py.File(path, "w") as file:
        for name, tensor in weights.items():
            layer, _ = name.split("/")
            if layer not in place:
                kind = "depthwise_conv2d" if layer.endswith("depthwise") else "conv2d"
                kind = "batch_normalization" if layer.endswith("_bn") else kind
                place[layer] = f"layers/{kind}" + (f"_{count[kind]}" if count[kind] else "") + "/vars"
                count[kind] += 1
                group = file.create_group(place[layer])
                if named:
                    group.attrs["name"] = layer
            group = file[place[layer]]
            group.create_dataset(str(len(group)), data=tensor.numpy())
        file.create_group("vars")
        file.create_dataset("optimizer/vars/0", data=np.int64(7))


def write_archive(path: Path, weights: Weights, config: Any = None, method: int = zipfile.ZIP_STORED) -> None:
    """`save('model.keras')`."""
    inner = path.with_suffix(".inner")
    write_modern(inner, weights)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config or {}))
        archive.write(inner, "model.weights.h5")


def contents(path: Path) -> dict[str, Any]:
    """Name in the file to shape (data sets) or attributes (groups), as `real_files` tells them."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = list(item.shape)
        else:
            found[name] = {key: np.asarray(value).astype(str).tolist() for key, value in item.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(visit)
        visit("", file)
    return found


def write_as_found(path: Path, found: dict[str, Any], weights: Callable[[str], np.ndarray]) -> None:
    """A file with exactly the names and attributes in `found`; `weights` gives the tensor at a place."""
    with h5py.File(path, "w") as file:
        for name, what in found.items():
            if isinstance(what, list):
                file.create_dataset(name, data=weights(name))
            else:
                group = file.require_group(name) if name else file
                for key, value in what.items():
                    group.attrs[key] = np.asarray(value, "S") if isinstance(value, list) and value else value


def _write_legacy(
    path: Path,
    weights: Weights,
    prefix: str,
    layer_name: Callable[[str], str],
    variable_name: Callable[[str, str], str],
    version: str,
    backend: str,
) -> None:
    layers: dict[str, list[str]] = {}
    for name in weights:
        layer, variable = name.split("/")
        layers.setdefault(layer, []).append(variable)
    with h5py.File(path, "w") as file:
        root = file.require_group(prefix) if prefix else file
        root.attrs["layer_names"] = [layer_name(layer).encode() for layer in layers]
        root.attrs["backend"], root.attrs["keras_version"] = backend, version
        for layer, variables in layers.items():
            group = root.require_group(layer_name(layer))
            group.attrs["weight_names"] = [variable_name(layer, variable).encode() for variable in variables]
            for variable in variables:
                group.create_dataset(variable_name(layer, variable), data=weights[f"{layer}/{variable}"].numpy())
