"""The artifact's description: everything a model knows about itself, as one JSON document.

It travels in the `.safetensors` metadata under the key `hswish` (and in the metadata of
every exported format), so that what was measured in training is what runs on the device.
Reading it executes no code and needs no torch.
"""

from __future__ import annotations

import json
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hswish.spec.architecture import Architecture, Task, resolve, task_of
from hswish.spec.errors import HswishError, ModelFileError, OptionError
from hswish.spec.preprocess import Preprocess

METADATA_KEY = "hswish"
VERSION = 1
_MAX_HEADER = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is written beside the weights."""

    model: str
    """architecture, one of `MODEL_NAMES`"""
    options: dict[str, Any]
    """options of the architecture, as `make_options` takes them"""
    classes: tuple[str, ...]
    """class names in output order"""
    preprocess: Preprocess
    metrics: dict[str, Any] = field(default_factory=dict)
    """figures it reached, as fractions, by split"""
    provenance: dict[str, Any] = field(default_factory=dict)
    """data, recipe, seed, versions, licence"""

    @property
    def task(self) -> Task:
        return task_of(self.model)

    def architecture(self) -> Architecture:
        return resolve(self.model, **self.options)

    def to_json(self) -> str:
        return json.dumps(
            {
                "version": VERSION,
                "model": {"name": self.model, "options": self.options},
                "task": self.task,
                "classes": list(self.classes),
                "preprocess": self.preprocess.to_dict(),
                "metrics": self.metrics,
                "provenance": self.provenance,
            }
        )

    @classmethod
    def from_json(cls, text: str, name: str = "description") -> Description:
        """Parse and check a document; `name` is the file named in errors.

        Raises:
            ModelFileError: not JSON, of a newer version, a key missing or a value wrong.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{name}: its hswish description is not valid JSON") from error
        if not isinstance(document, dict):
            raise ModelFileError(f"{name}: its hswish description is not a JSON object")
        version = document.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ModelFileError(f"{name}: its hswish description has no version number")
        if version > VERSION:
            raise ModelFileError(
                f"{name}: written by a newer hswish (file version {version}, this one reads up to {VERSION}); "
                "upgrade with: pip install -U hswish"
            )
        try:
            return cls._from_document(document)
        except KeyError as error:
            raise ModelFileError(f"{name}: its hswish description lacks the key {error}") from error
        except OptionError as error:
            raise ModelFileError(f"{name}: {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"{name}: its hswish description is malformed ({error})") from error

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> Description:
        model, options = document["model"]["name"], dict(document["model"]["options"])
        classes = document["classes"]
        if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
            raise ValueError("classes must be a list of names")
        architecture = resolve(model, **options)
        if len(classes) != architecture.options.num_classes:
            raise ValueError(f"{len(classes)} class names for {architecture.options.num_classes} outputs")
        if document["task"] != architecture.task:
            raise ValueError(f"task {str(document['task'])[:80]!r} does not fit the model {model}")
        preprocess = Preprocess.from_dict(document["preprocess"])
        if architecture.task == "segmentation" and preprocess.resize == "crop":
            raise ValueError("a mask needs the whole picture: resize must be shorter or stretch")
        made, taken = preprocess.channel_count, architecture.options.in_channels
        if taken in (1, 3) and made != taken:  # other counts have no channel order here: fed by the user's own code
            raise ValueError(f"preprocess makes {made} channels for a model of {taken}")
        for key in ("metrics", "provenance"):
            if not isinstance(document[key], dict):
                raise ValueError(f"{key} must be an object")
        return cls(
            model=model,
            options=options,
            classes=tuple(classes),
            preprocess=preprocess,
            metrics=document["metrics"],
            provenance=document["provenance"],
        )


CONVERT = "hswish convert LIBRARY FILE -o OUT.safetensors"
"""the command for files that are none of ours"""


def read_description(path: str | Path) -> Description:
    """The description inside a `.safetensors` file, without reading its weights.

    Raises:
        ModelFileError: missing, truncated, no model at all, or of a newer version.
    """
    header = read_header(path)
    text = header.get("__metadata__", {}).get(METADATA_KEY)
    if not isinstance(text, str):
        raise ModelFileError(
            f"{path}: a safetensors file without hswish's description, made by another tool; "
            f"if it is a known network: {CONVERT}"
        )
    return Description.from_json(text, str(path))


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a `.safetensors` file, checked against the file's length.

    Raises:
        ModelFileError: the file is missing, empty, truncated, or something else.
    """
    path = Path(path)
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ModelFileError(f"{path}: not a regular file")  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise ModelFileError(f"{path}: empty or truncated; make or fetch the model file again")
            (length,) = struct.unpack("<Q", start)
            if length > min(size - 8, _MAX_HEADER):
                raise ModelFileError(_not_ours(path, start))
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ModelFileError(_not_ours(path, start))
        if not isinstance(header.get("__metadata__", {}), dict):
            raise ModelFileError(_not_ours(path, start))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        end = max(ends, default=0)
    except HswishError:
        raise
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such model file") from error
    except IsADirectoryError as error:
        raise ModelFileError(f"{path}: is a folder; name the .safetensors file in it") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ModelFileError(_not_ours(path, b"")) from error
    if end != size - 8 - length:
        raise ModelFileError(f"{path}: truncated or damaged; make or fetch the model file again")
    return header


def _not_ours(path: Path, start: bytes) -> str:
    # A pickle begins with 0x80 and its protocol; so may a small header's length, but that goes on with zeros.
    is_pickle = start[:1] == b"\x80" and start[1] in range(2, 6) and any(start[2:])
    if is_pickle or start.startswith(b"PK\x03\x04"):
        return (
            f"{path}: a pickled PyTorch checkpoint, which could run code when opened; "
            f"another library's network becomes a hswish file with: {CONVERT}"
        )
    return f"{path}: not a hswish model (a .safetensors file is expected), or a damaged one"
