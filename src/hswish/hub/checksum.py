"""What a published file must hash to, in the forms in which publishers say it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from hswish.spec.errors import OptionError


@dataclass(frozen=True)
class Checksum:
    """A hash, or the first part of one: torchvision and timm put eight digits of the SHA-256 into the file's name."""

    algorithm: str
    """sha256 or md5"""
    digits: str
    """lower-case hexadecimal, eight or more from the start of the hash"""

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """`sha256:8738ca79` or `md5:59e551e166be033d707958cf9e29a6a7`.

        Raises:
            OptionError: anything else.
        """
        match = re.fullmatch(r"(sha256|md5)[:=]([0-9a-fA-F]{8,64})", text)
        if match is None:
            raise OptionError(f"a checksum is written sha256:DIGITS (8 to 64 of them), not {text[:80]!r}")
        return cls(match[1], match[2].lower())

    def of(self, path: Path) -> str:
        """The hash of a file, as many digits as are known of the right one."""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest()[: len(self.digits)]

    def fits(self, path: Path) -> bool:
        """Whether the file is the right one."""
        return self.of(path) == self.digits

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digits}"
