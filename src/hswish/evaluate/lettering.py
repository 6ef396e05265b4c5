"""Names of classes, files and data sets as text in a picture: anything a file system takes may be one."""

from __future__ import annotations


def drawable(text: str) -> str:
    """`text` as a font can draw it: bytes that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain(text: str) -> str:
    """`text` for matplotlib, which would set what stands between two dollars as a formula."""
    return drawable(text).replace("$", r"\$")
