"""What is made of a data set lies outside of it."""

from __future__ import annotations

from pathlib import Path

from hswish.spec.errors import SaveError
from hswish.spec.files import expanded


def check_outside(out: Path, data: str | Path, option: str = "--out") -> None:
    """Refuse to write into a folder that is read: the next listing would take a picture there for data.

    Args:
        out: file or folder that is to be written.
        data: the data set, as `open_data` takes it.
        option: what names another place, for the message.

    Raises:
        SaveError: `out` is the folder `data` or lies inside it.
    """
    folder = expanded(data)
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise SaveError(f"{out}: lies inside the data, {data}; choose another folder by {option}")
