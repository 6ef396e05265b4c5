"""Option values that several commands read alike."""

from __future__ import annotations

import re

from hswish.spec.errors import OptionError


def parse_size(text: str) -> tuple[int, int | None]:
    """`224` to (224, None), `360x480` (height x width) to (360, 480); pixels.

    Raises:
        OptionError: anything else, or more than five digits.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if match is None:
        raise OptionError(f"--size takes 224 or 360x480 (height x width), not {text!r}")
    height, width = match.groups()
    return int(height), int(width) if width else None


def parse_batch_size(text: str | None) -> int | str | None:
    """`64` to 64; `auto` and None as they are.

    Raises:
        OptionError: neither.
    """
    if text is None or text == "auto":
        return text
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise OptionError(f"--batch-size takes a number or auto, not {text!r}")
    return int(text)
