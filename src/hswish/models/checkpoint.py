"""A model as one `.safetensors` file: weights and description, no code.

Loading builds the network from the description on the meta device, compares every name
and shape with the file's header, and only then reads weights: a hostile or damaged file
costs neither memory nor trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from hswish.hub import locate
from hswish.models.described import DescribedModule
from hswish.models.factory import build
from hswish.spec.artifact import METADATA_KEY, read_description, read_header
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.files import write_aside
from hswish.spec.quantized_file import QUANTIZED_KEY


def save(model: nn.Module, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write `model` with its description; the previous file stays intact until the last moment.

    Args:
        dtype: store floating-point weights as this type (`torch.float16` halves the file);
            a tensor with a value beyond the type's range is stored as it is.

    Raises:
        OptionError: not a network made by `create_model` or `load`.
        SaveError: the disk is full or the folder not writable.
    """
    if not isinstance(model, DescribedModule):
        raise OptionError(f"only a whole hswish network can be saved, not a {type(model).__name__}")
    state = {
        name: _stored(tensor, dtype).contiguous().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    data = safetensors.torch.save(state, metadata={METADATA_KEY: model.description.to_json()})
    with write_aside(path) as aside:
        aside.write_bytes(data)


def load(path: str | Path) -> DescribedModule:
    """The network in a file: same architecture, weights, classes and preprocessing, in evaluation mode.

    Weights stored as float16 come back as float32.

    Args:
        path: a `.safetensors` file; also a published name (`hswish models` lists them),
            `hf://OWNER/NAME[@REVISION]` or `https://...`, which are fetched once and kept.

    Raises:
        DownloadError: it cannot be fetched, or is not what was published.
        ModelFileError: missing, truncated, not a model, of a newer version, or contradictory.
    """
    path = locate(path)
    description = read_description(path)
    if QUANTIZED_KEY in read_header(path).get("__metadata__", {}):
        raise ModelFileError(f"{path}: holds an 8-bit network, for the engine native; load the model it is of")
    with torch.device("meta"):
        model = build(description.architecture())
    expected = dict(model.state_dict())
    _check_shapes(path, expected, read_header(path))
    try:
        state = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelFileError(f"{path}: its weights cannot be read ({error}); fetch the file again") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise ModelFileError(f"{path}: {name} is stored as {tensor.dtype}, which is no type for it")
    state = {name: tensor.to(expected[name].dtype, copy=True) for name, tensor in state.items()}
    model.load_state_dict(state, assign=True)
    model.description = description
    return model.eval()


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor
    small = tensor.to(dtype)
    return small if torch.equal(small.isfinite(), tensor.isfinite()) else tensor


def _check_shapes(path: str | Path, expected: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    found = {name: entry.get("shape") for name, entry in header.items() if name != "__metadata__"}
    for problem, names in (
        ("lacks the weights", expected.keys() - found.keys()),
        ("has unknown weights", found.keys() - expected.keys()),
    ):
        if names:
            # The names are the file's own: quoted and cut, so that the error stays one line.
            listed = ", ".join(f"{name!r:.80}" for name in sorted(names)[:3])
            listed += f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ModelFileError(f"{path}: {problem} {listed}; its description does not fit its contents")
    for name, tensor in expected.items():
        if list(tensor.shape) != found[name]:
            raise ModelFileError(
                f"{path}: {name} has shape {found[name]!r:.80}, its description asks for {list(tensor.shape)}"
            )
