"""Files of Keras by h5py alone: three dialects in, two out. Neither Keras nor TensorFlow is imported.

| file | where a tensor lies in it |
|---|---|
| `.h5`, Keras 2 | `expanded_conv/expand/BatchNorm/expanded_conv/expand/BatchNorm/gamma:0` |
| `.h5`, Keras 3 | `expanded_conv_expand_bn/expanded_conv_expand_bn/gamma` |
| `.weights.h5` | `layers/batch_normalization_1/vars/0`: class, counter, place among the layer's variables |
| `.keras` | a zip with `config.json` and a `.weights.h5` |

A whole model's `.h5` has `model_weights/` before the names. Nothing in a file is executed: of
`config.json`, which can name any Python function, only plain values are looked at.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from hswish.models.adapters.base import listed
from hswish.spec.errors import HswishError, MissingPackageError, ModelFileError
from hswish.spec.files import write_aside

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
"""members of a `.keras` archive"""
NOT_OF_THE_NETWORK = ("optimizer_weights", "optimizer", "top_level_model_weights")
"""groups at the top of a file that hold something else"""
MAX_DEPTH, MAX_ITEMS, MAX_CONFIG = 16, 5_000, 32 * 2**20
"""a network has a depth of 8 and 1000 items, a configuration 200 KB"""


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """What a file says."""

    tensors: dict[str, Tensor]
    """by place in the file, without a whole model's prefix; in Keras' layouts, float32"""
    order: list[list[str]]
    """places of each layer's tensors, in the network's order; empty where the file does not say"""
    config: dict[str, Any]
    """the model's configuration; empty where the file has none"""


# --- Reading -------------------------------------------------------------------------------


def read_hdf5(path: Path) -> KerasFile:
    """A `.h5` or `.weights.h5` file.

    Raises:
        ModelFileError: damaged, or holding what no file of Keras holds: links to other places,
            compressed or virtual tensors, other types than floating point.
        MissingPackageError: h5py is not installed.
    """
    return _read(path, path, path.stat().st_size)


def read_archive(path: Path) -> KerasFile:
    """A `.keras` file.

    Raises:
        ModelFileError: as `read_hdf5`, or no such archive.
        MissingPackageError: h5py is not installed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name, most in ((WEIGHTS, 2 * path.stat().st_size), (CONFIG, MAX_CONFIG)):
                if archive.getinfo(name).file_size > most:  # weights hardly compress: a bomb
                    raise ModelFileError(f"{path}: {name} in it unpacks to more than it can hold; it is damaged")
            weights, config = archive.read(WEIGHTS), _parse(archive.read(CONFIG))
    except KeyError as error:
        raise ModelFileError(f"{path}: no model of Keras, it lacks {error.args[0]!r:.80}") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelFileError(f"{path}: truncated or damaged; fetch it again") from error
    content = _read(path, io.BytesIO(weights), len(weights))
    return replace(content, config=config)


def _read(path: Path, source: Path | BinaryIO, size: int) -> KerasFile:
    h5py = _h5py()
    try:
        with h5py.File(source, "r") as file:
            config = _parse(file.attrs.get("model_config", ""))
            root = file["model_weights"] if "model_weights" in _own(file) else file
            tensors: dict[str, Tensor] = {}
            for name, item in _datasets(path, root):
                tensors[name] = _tensor(path, name, item, size)
                size -= tensors[name].nbytes  # each has bytes of its own
            order = _order(root)
    except HswishError:
        raise
    except MemoryError as error:
        raise ModelFileError(f"{path}: asks for more memory than there is; it is damaged, fetch it again") from error
    except Exception as error:
        raise ModelFileError(f"{path}: truncated or damaged; fetch it again") from error
    if not tensors:
        raise ModelFileError(f"{path}: no weights in it; save them with model.save_weights or model.save")
    return KerasFile(tensors=tensors, order=order, config=config)


def _own(group: Any) -> list[str]:
    """Names in a group that lead to something inside this file."""
    h5py = _h5py()
    return [name for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]


def _datasets(path: Path, root: Any) -> Iterator[tuple[str, Any]]:
    """Every tensor below `root`, by its place; a link that leads back up would go on for ever."""
    h5py = _h5py()
    todo, seen = [("", root, 0)], 0
    while todo:
        prefix, group, depth = todo.pop()
        own = _own(group)
        if foreign := [f"{prefix}{name}" for name in group if name not in own]:
            raise ModelFileError(f"{path}: links to other places or files ({listed(foreign)}), as Keras never writes")
        seen += len(own)
        if seen > MAX_ITEMS or depth > MAX_DEPTH:
            raise ModelFileError(f"{path}: more groups than a network has; no file of Keras, or a damaged one")
        for name in own:
            if depth == 0 and name in NOT_OF_THE_NETWORK:
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield prefix + name, item
            elif isinstance(item, h5py.Group):
                todo.append((f"{prefix}{name}/", item, depth + 1))


def _order(root: Any) -> list[list[str]]:
    """What a `.h5` lists; every group was walked before, so that no name leads out of the file."""
    layers = [name for name in _listed(root, "layer_names") if name in root]
    places = [[f"{layer}/{name}" for name in _listed(root[layer], "weight_names")] for layer in layers]
    return [group for group in places if group]


def _listed(group: Any, attribute: str) -> list[str]:
    """A list of names; one of more than 64 KB is cut up, and its parts are numbered."""
    parts = [name for name in group.attrs if re.fullmatch(rf"{attribute}\d*", name)]
    parts.sort(key=lambda name: (len(name), name))
    names = [name for part in parts for name in group.attrs[part][:MAX_ITEMS]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _tensor(path: Path, name: str, item: Any, left: int) -> Tensor:
    if item.dtype.kind != "f":
        raise ModelFileError(f"{path}: {name!r:.80} holds {item.dtype!s:.40}, not floating-point numbers")
    size = item.dtype.itemsize * math.prod(item.shape or ())
    if item.shape is None or item.is_virtual or item.external or size > min(left, item.id.get_storage_size()):
        raise ModelFileError(
            f"{path}: {name!r:.80} claims more values than the file holds (or they are compressed, as Keras never does)"
        )
    return torch.from_numpy(np.asarray(item[()], np.float32))


def _parse(text: str | bytes) -> dict[str, Any]:
    """A configuration; what is none counts for nothing, for weights do not need it."""
    if not isinstance(text, (str, bytes)) or not text or len(text) > MAX_CONFIG:
        return {}
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


# --- Writing -------------------------------------------------------------------------------


def write_legacy(path: Path, state: dict[str, Tensor]) -> None:
    """A `.h5` weight file, which `load_weights` of Keras 2 and 3 takes by the order of its layers.

    Args:
        state: `LAYER/VARIABLE` to tensor, in the network's order.

    Raises:
        SaveError: the disk is full or the folder not writable.
        MissingPackageError: h5py is not installed.
    """
    layers: dict[str, list[str]] = {}
    for name in state:
        layers.setdefault(name.split("/")[0], []).append(name)
    with _hdf5(path) as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["backend"] = b"tensorflow"  # whose layouts these are
        file.attrs["keras_version"] = b"2.15.0"  # any above 1: earlier ones had other layouts
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                group.create_dataset(name, data=state[name].numpy())


def write_modern(path: Path, state: dict[str, Tensor]) -> None:
    """A `.weights.h5` file, which Keras 3 takes by place.

    Args:
        state: place in the file to tensor.

    Raises:
        SaveError: the disk is full or the folder not writable.
        MissingPackageError: h5py is not installed.
    """
    with _hdf5(path) as file:
        for place, tensor in state.items():
            file.create_dataset(place, data=tensor.numpy())


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    """A new HDF5 file, made in memory: on a full disk the library's own writing ends the process."""
    data = io.BytesIO()
    with _h5py().File(data, "w") as file:
        yield file
    with write_aside(path) as aside:
        aside.write_bytes(data.getbuffer())


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingPackageError("h5py", "keras", "a file of Keras") from error
    return h5py
