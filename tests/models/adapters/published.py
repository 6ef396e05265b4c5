"""What other libraries say of their published weights: hash, classes, and what becomes of a picture.

Kept as `goldens/published-LIBRARY.npz`, made by the scripts that make the goldens; numpy and Pillow only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parent / "goldens"
MAX_BYTES = 50_000

VALUES = 500
"""numbers kept of each prepared picture, evenly spaced"""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One weight file of a library."""

    source: str
    """`LIBRARY:NETWORK.WEIGHTS`, as `convert` takes it"""
    sha256: str
    """first digits, from the file's name; empty where the name has none"""
    classes: list[str] | None
    """names of the outputs, where the library has them"""
    shape: tuple[int, ...]
    """(C, H, W) of the prepared picture"""
    values: NDArray[np.float32]
    """`pick_values` of it, float32"""


def formula_picture() -> Image.Image:
    """A picture of 400 x 300 pixels, the same everywhere: noise over slow waves."""
    y, x = np.mgrid[0:300, 0:400]
    waves = 128 + 60 * np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1)
    noise = np.random.RandomState(0).randint(-60, 61, waves.shape)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


def pick_values(prepared: NDArray[Any]) -> NDArray[np.float32]:
    """At most `VALUES` numbers of a (C, H, W) picture, flat."""
    flat = np.asarray(prepared, np.float32).ravel()
    return flat[np.linspace(0, flat.size - 1, VALUES).astype(int)]


def save_published(library: str, entries: list[Published]) -> None:
    """Write the library's file."""
    about = [{**asdict(entry), "values": None} for entry in entries]
    path = _path(library)
    np.savez_compressed(
        path,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        values=np.stack([entry.values for entry in entries]),
    )
    assert path.stat().st_size <= MAX_BYTES, f"{path} has {path.stat().st_size} bytes"


def load_published(library: str) -> list[Published]:
    """Read it back."""
    with np.load(_path(library), allow_pickle=False) as file:
        about, values = json.loads(file["about"].tobytes()), file["values"]
    return [
        Published(**{**entry, "shape": tuple(entry["shape"]), "values": row})
        for entry, row in zip(about, values, strict=True)
    ]


def _path(library: str) -> Path:
    return FOLDER / f"published-{library}.npz"
