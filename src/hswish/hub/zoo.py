"""The project's own trained models: `zoo/ARCHITECTURE.DATA.safetensors`, where hswish runs from a clone of it."""

from __future__ import annotations

from pathlib import Path


def zoo_folder() -> Path:
    """The folder; an installed package has none."""
    return Path(__file__).resolve().parents[3] / "zoo"


def zoo_files() -> list[Path]:
    """The models in it."""
    return sorted(zoo_folder().glob("*.safetensors"))


def find_own(name: str) -> Path | None:
    """The model called `name`, which is its file's name without the ending; None where there is none."""
    return next((path for path in zoo_files() if path.stem == name), None)
