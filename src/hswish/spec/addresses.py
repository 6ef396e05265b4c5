"""What is an address of the web, and not a path."""

from __future__ import annotations

import os


def is_web_address(source: str | os.PathLike[str]) -> bool:
    """Whether it begins as one; the case of the letters does not matter."""
    return os.fspath(source).lower().startswith(("http://", "https://"))
