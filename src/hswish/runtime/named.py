"""One input of a prediction: what it is called, and how its picture is read."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hswish.runtime.addresses import Address
from hswish.spec.errors import PictureError
from hswish.spec.pictures import MAX_FILE_BYTES, read_picture, to_rgb


@dataclass(frozen=True, eq=False)
class ZipMember:
    """A picture inside an open archive."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def read(self, name: str) -> bytes:
        """The member's bytes.

        Raises:
            PictureError: damaged, encrypted or absurdly large.
        """
        if self.info.file_size > MAX_FILE_BYTES:
            raise PictureError(name, f"unpacks to {self.info.file_size:,} bytes, more than any picture needs")
        try:
            return self.archive.read(self.info)
        except Exception as error:  # zlib, lzma, a password, a bad checksum, an unknown method
            raise PictureError(name, f"cannot be unpacked ({' '.join(str(error).split())[:100]})") from error


@dataclass(frozen=True, eq=False)
class Named:
    """One input: what to call it, where to find it."""

    name: str
    """what results and errors call it: its path, or `picture-3`"""
    data: Path | bytes | Image.Image | NDArray[Any] | ZipMember | Address | PictureError
    """where the picture is; or why it was not to be had"""
    relative: Path
    """its path under the folder or archive that was given, for naming outputs"""

    def read(self) -> Image.Image:
        """The picture, upright RGB.

        Raises:
            PictureError: it cannot be read as a picture.
        """
        if isinstance(self.data, PictureError):
            raise self.data
        if isinstance(self.data, ZipMember):
            return read_picture(self.data.read(self.name), self.name)
        if isinstance(self.data, Address):
            return read_picture(self.data.read(), self.name)
        if isinstance(self.data, (Path, bytes)):
            return read_picture(self.data, self.name)
        if isinstance(self.data, Image.Image):
            return _from_pil(self.data, self.name)
        return _from_array(self.data, self.name)


def _from_pil(image: Image.Image, name: str) -> Image.Image:
    if not (image.width and image.height):
        raise PictureError(name, "the picture has no pixels")
    try:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # a lazily opened file may be damaged in any way
        raise PictureError(name, f"damaged or truncated picture ({' '.join(str(error).split())[:100]})") from error


def _from_array(pixels: NDArray[Any], name: str) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise PictureError(name, f"an array of {pixels.dtype}; give uint8 from 0 to 255 (scale and convert it)")
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise PictureError(name, f"an array of shape {pixels.shape}; give (H, W), (H, W, 3) RGB or (H, W, 4) RGBA")
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
