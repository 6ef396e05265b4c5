"""What is known about published weights before they are fetched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from hswish.spec.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """One file of weights that somebody has published."""

    name: str
    """ARCHITECTURE.TAG, as `hswish.load` takes it"""
    source: str | None
    """what wrote the file, as `hswish convert` takes it: LIBRARY:NETWORK; None for hswish itself"""
    url: str
    """https://HOST/PATH, or hf://OWNER/NAME[/FILE][@REVISION]"""
    checksum: str | None = None
    """`sha256:` or `md5:` and the digits that its publisher gives, perhaps only the first; None: none given"""
    parameters: int | None = None
    size_mb: float | None = None
    """of the file, in 10^6 bytes, where its publisher says so"""
    data: str = "ImageNet-1k"
    """what it was trained on, and the figures were measured on the validation pictures of"""
    metrics: dict[str, float]
    """figures that its publisher reports, as fractions"""
    preprocess: Preprocess | None
    """with which those figures were measured; None: what the file says, or its library does"""
    licence: str = "not stated"
    """SPDX name of the licence of the project that publishes it"""
    page: str
    """where its publisher says all this"""
    also: str | None = None
    """its publisher's own name for it, understood too"""

    @property
    def file(self) -> str:
        """The file's name on the server."""
        return PurePosixPath(self.url).name

    @property
    def library(self) -> str:
        """Which library's file it is."""
        return self.source.split(":")[0] if self.source else "hswish"

    @property
    def fingerprint(self) -> str:
        """Changes with everything that decides what the converted file holds."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    def provenance(self) -> dict[str, Any]:
        """What its converted file says about where it comes from."""
        return {
            "data": self.data,
            "published": self.name,
            "url": self.url,
            "page": self.page,
            "licence": self.licence,
            "figures": f"reported by {self.library}, not measured by hswish",
        }


def pictures(size_px: int, scaled_px: int, like: Preprocess) -> Preprocess:
    """`like`, but: shorter side to `scaled_px`, of which the central `size_px` are kept."""
    return replace(like, height=size_px, width=size_px, resize="crop", crop_fraction=size_px / scaled_px)
