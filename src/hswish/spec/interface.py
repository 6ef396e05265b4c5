"""What an exported file takes and gives, beside its description: shapes, types, precision.

A `.safetensors` model takes normalised pictures of any size and gives logits. An export may be
fixed to one size, may take pixels, and may give masks; it says so in a second document that
travels next to the description in the format's own metadata.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.spec.artifact import Description
from hswish.spec.errors import ModelFileError

INTERFACE_KEY = "hswish_interface"
"""Metadata key of the document; the description's is `hswish`."""

Takes = Literal["normalised", "pixels"]
Gives = Literal["logits", "mask"]
Precision = Literal["float32", "float16", "int8", "int8-weights"]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """How an engine's `run` is called; the default is a network in torch."""

    takes: Takes = "normalised"
    """normalised: (N, C, H, W) float32; pixels: (N, H, W, 3) uint8 RGB, scaled by the file itself"""
    gives: Gives = "logits"
    """logits: (N, K) or (N, K, H, W) float32; mask: (N, H, W) uint8 class indices"""
    size: tuple[int, int] | None = None
    """(height, width) in pixels that the input must have; None: any"""
    precision: Precision = "float32"
    """type that the weights are stored in"""

    def inputs(self, description: Description, picture: Image.Image) -> NDArray[np.float32] | NDArray[np.uint8]:
        """What `run` takes for one RGB picture, without the batch axis."""
        if self.takes == "pixels":
            return np.array(description.preprocess.resized(picture))  # its own memory
        return description.preprocess(picture)

    def reader(self, description: Description) -> PictureReader:
        """`inputs` of one description, as a value that other processes can be given."""
        return PictureReader(self, description)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, name: str = "interface") -> Interface:
        """The reverse of `to_json`; `name` is the file named in errors.

        Raises:
            ModelFileError: not such a document, or a value this version does not know.
        """
        try:
            values = json.loads(text)
            unknown = set(values) - {field.name for field in fields(cls)}
            size = values.get("size")
            made = cls(**{**values, "size": None if size is None else (int(size[0]), int(size[1]))})
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            raise ModelFileError(f"{name}: its {INTERFACE_KEY} is malformed; export the model again") from error
        good = made.takes in get_args(Takes) and made.gives in get_args(Gives) and made.precision in get_args(Precision)
        if unknown or not good or (made.size is not None and min(made.size) < 1):
            raise ModelFileError(f"{name}: its {INTERFACE_KEY} comes from another version of hswish; export it again")
        return made


@dataclass(frozen=True)
class PictureReader:
    """From an RGB picture to what an engine's `run` takes, without the batch axis."""

    interface: Interface
    description: Description

    def __call__(self, picture: Image.Image) -> NDArray[np.float32] | NDArray[np.uint8]:
        return self.interface.inputs(self.description, picture)


def read_documents(description: object, interface: object, name: str) -> tuple[Description, Interface]:
    """Both documents of a file's metadata, as text; `name` is the file named in errors.

    Raises:
        ModelFileError: they are not there (the file is another tool's), or malformed.
    """
    if not isinstance(description, str) or not isinstance(interface, str):
        raise ModelFileError(f"{name}: holds no hswish description; make it with: hswish export MODEL")
    return Description.from_json(description, name), Interface.from_json(interface, name)
