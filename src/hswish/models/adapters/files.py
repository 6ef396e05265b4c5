"""Checkpoint files of the PyTorch world, read without running what is in them.

A `.pth` file is a pickle, and a pickle can run code. It is read by torch's restricted reader,
which knows tensors and plain containers only; what wants more is refused. Training scripts wrap
the weights (`{"model": ..., "optimizer": ...}`, `module.`, averaged copies), and they are
unwrapped here.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import re
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import ModelFileError
from hswish.spec.files import write_aside

AVERAGED_KEYS = ("model_ema", "state_dict_ema")
"""where training scripts put the averaged weights: torchvision's, timm's"""
PLAIN_KEYS = ("model", "state_dict")
"""... and the last ones"""
PREFIXES = ("module.", "_orig_mod.")
"""put before every name by DataParallel and averaging, and by torch.compile"""
AVERAGE_COUNTER = "n_averaged"
"""torch's AveragedModel keeps it among the weights; it is none"""
SAVE_WEIGHTS = "save the weights alone: torch.save(model.state_dict(), 'weights.pth')"
"""the remedy for a file that holds more"""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file's tensors under its library's names, and what else it says of itself."""

    path: Path
    sha256: str
    """of the whole file, hexadecimal"""
    tensors: dict[str, Tensor]
    averaged: bool = False
    """these are the averaged weights, of a file that has both"""
    network: str | None = None
    """the network's name, where the file says it"""
    about: dict[str, Any] = field(default_factory=dict)
    """settings of the training script, where the file has them"""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


# --- Reading -------------------------------------------------------------------------------


def kind_of(path: Path) -> str:
    """`torch`, `safetensors`, `hdf5`, `keras` or `unknown`, by a file's first bytes and not its name.

    Raises:
        ModelFileError: the file is missing, empty or not readable.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ModelFileError(f"{path}: is a folder; name the weight file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            start = file.read(10)
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if len(start) < 10:
        raise ModelFileError(f"{path}: empty or truncated; fetch the file again")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if start.startswith(b"PK\x03\x04"):
        return "keras" if _is_keras(path) else "torch"
    if start[0] == 0x80 and start[1] in range(2, 6):
        return "torch"
    return "safetensors" if start[8:9] == b"{" else "unknown"


def read_torch_checkpoint(path: Path, *, ema: bool = True) -> Checkpoint:
    """The weights in a `.pth`, `.pt`, `.bin` or `.safetensors` file, unwrapped.

    Args:
        ema: prefer averaged weights where the file has both.

    Raises:
        ModelFileError: missing, damaged, no weights in it, or wanting more than weights.
    """
    kind = kind_of(path)
    if kind not in ("torch", "safetensors"):
        raise ModelFileError(f"{path}: {NOT_OF_TORCH.get(kind, 'no checkpoint of PyTorch, or a damaged one')}")
    digest = sha256_of(path)
    content = _unpickle(path) if kind == "torch" else _read_safetensors(path)
    state, averaged = _unwrap(path, content, ema)
    settings = content.get("args")
    about = vars(settings) if isinstance(settings, argparse.Namespace) else {}
    return Checkpoint(
        path=path,
        sha256=digest,
        tensors=_checked(path, state),
        averaged=averaged,
        network=_network_name(content.get("arch")) or _network_name(about.get("model")),
        about=about,
    )


NOT_OF_TORCH = {
    "hdf5": "an HDF5 file, as Keras writes them; convert it as keras",
    "keras": "a model of Keras; convert it as keras",
}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; a name such as `mobilenet_v3_large-8738ca79.pth` promises its first digits.

    Raises:
        ModelFileError: the file is not what its name promises, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    promised = re.search(r"-([0-9a-f]{8})\.(?:pth|pt)$", path.name)
    if promised and not digest.startswith(promised[1]):
        raise ModelFileError(
            f"{path}: corrupt or partly downloaded, its SHA-256 begins with {digest[:8]} and not as its name says; "
            f"fetch it again (or rename it, if {promised[1]} is no hash, or it was changed on purpose)"
        )
    return digest


def _is_keras(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "model.weights.h5" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _unpickle(path: Path) -> dict[str, Any]:
    zipped = _check_zip(path)
    try:
        # A namespace of command-line arguments is plain data; torchvision's and timm's scripts save theirs.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise ModelFileError(f"{path}: {_refusal(str(error))}") from error
    except MemoryError as error:
        raise ModelFileError(f"{path}: asks for more memory than there is; it is damaged, fetch it again") from error
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise ModelFileError(f"{path}: damaged or partly downloaded; fetch it again") from error
    if isinstance(content, Mapping):
        return dict(content)
    raise ModelFileError(f"{path}: holds a {type(content).__name__}, not a state dict")


def _check_zip(path: Path) -> bool:
    """Whether the pickle is in a zip, as since torch 1.6; what torch.save does not make is refused."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(f"{path}: truncated or damaged; fetch it again") from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ModelFileError(f"{path}: a TorchScript program, not weights; where it came from, {SAVE_WEIGHTS}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):  # could unpack to any size
        raise ModelFileError(
            f"{path}: a compressed zip, which torch.save never makes; unpack it and name the file in it"
        )
    return True


def _refusal(reason: str) -> str:
    """What torch's restricted reader did not want, in a user's words."""
    found = re.search(r"GLOBAL ([\w.]+)|[Uu]nsupported class ([\w.]+)|unrecognized function (.+)", reason)
    if found is None:
        return "damaged, partly downloaded, or no checkpoint of PyTorch; fetch it again"
    wanted = next(group for group in found.groups() if group)
    return (
        f"holds more than weights ({wanted:.80}), and unpickling that could run code, so it is not opened; "
        f"where it came from, {SAVE_WEIGHTS}"
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            if METADATA_KEY in (file.metadata() or {}):
                raise ModelFileError(
                    f"{path}: already a model of hswish; load it as it is, or convert it --to a library"
                )
        return dict(safetensors.torch.load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelFileError(f"{path}: truncated or damaged; fetch it again") from error


def _network_name(model: object) -> str | None:
    """`mobilenetv3_large_100` of `timm/mobilenetv3_large_100.ra_in1k`, as training scripts are told."""
    return model.rsplit("/", 1)[-1].split(".")[0] if isinstance(model, str) else None


# --- Unwrapping ----------------------------------------------------------------------------


def _unwrap(path: Path, content: dict[str, Any], ema: bool) -> tuple[dict[str, Any], bool]:
    """The state dict in a training script's file, its prefixes off; and whether it is the averaged one."""
    averaged = next((key for key in AVERAGED_KEYS if isinstance(content.get(key), Mapping)), None)
    plain = next((key for key in PLAIN_KEYS if isinstance(content.get(key), Mapping)), None)
    key = averaged if averaged and (ema or plain is None) else plain
    state = dict(content[key]) if key else content
    state.pop(AVERAGE_COUNTER, None)
    while state and (prefix := next((p for p in PREFIXES if all(str(k).startswith(p) for k in state)), None)):
        state = {name[len(prefix) :]: value for name, value in state.items()}
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise ModelFileError(
            f"{path}: no weights in it; its keys are {', '.join(repr(key)[:40] for key in list(state)[:5])}"
        )
    return state, key is not None and key == averaged


def _checked(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    """`state`, if it is names and ordinary tensors that the file really holds."""
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelFileError(
                f"{path}: no state dict: {name!r:.80} is a {type(value).__name__}; save model.state_dict() alone"
            )
        if value.is_quantized:
            raise ModelFileError(f"{path}: quantised weights ({name!r:.80}); convert the float checkpoint instead")
        if value.layout != torch.strided or value.device.type != "cpu":
            raise ModelFileError(f"{path}: {name!r:.80} is no ordinary tensor; save model.state_dict() alone")
        # A view can claim any size over a few bytes, and would take the memory only when it is copied.
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ModelFileError(f"{path}: {name!r:.80} claims more values than the file holds; it is damaged")
    return state


# --- Writing -------------------------------------------------------------------------------


def write_torch_checkpoint(path: Path, state: dict[str, Tensor]) -> None:
    """Write a plain state dict, as `.safetensors` or else as torch's own.

    Raises:
        SaveError: the disk is full or the folder not writable.
    """
    if path.suffix.lower() == ".safetensors":
        data = safetensors.torch.save(state, metadata={"format": "pt"})
        with write_aside(path) as aside:
            aside.write_bytes(data)
    else:
        write_pickle(path, OrderedDict(state))


def write_pickle(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` by `torch.save`, made in memory: torch's own writer hides from its caller that a disk is full.

    Raises:
        SaveError: the disk is full or the folder not writable.
    """
    data = io.BytesIO()
    torch.save(content, data)
    with write_aside(path) as aside:
        aside.write_bytes(data.getbuffer())
