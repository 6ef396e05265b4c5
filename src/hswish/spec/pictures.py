"""Reading pictures and masks from untrusted files, the same way everywhere.

Training, evaluation, prediction and calibration all decode through `read_picture`, so the
same bytes give the same pixels on every path. Any mode that Pillow knows becomes 8-bit
RGB, upright as its EXIF orientation says; what is not a picture, or is too large to be
one, raises `PictureError` before its pixels are decoded.
"""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.spec.errors import PictureError
from hswish.spec.memory import free_bytes

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})  # lossless only

# Decoders that run other programs or read several files (EPS, FPX, ...) stay switched off.
# MPO (two JPEGs in one file, as phones write) is opened by the JPEG decoder; named here it is a KeyError.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")

MAX_PIXELS = 178_956_970
"""Largest picture decoded, in pixels: Pillow's own error threshold (0.5 GB as RGB), which stays in force."""
MAX_FILE_BYTES = 2**30
"""Largest picture file read into memory; an archive of a few kilobytes can claim any size."""
_LARGE_PIXELS = 2**22
"""Size from which on a picture is compared with the memory that is left: a look at it takes time, too."""
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}
"""Bytes that Pillow holds a pixel in, by mode; 4 in every other."""
_ORIENTATION = 0x0112  # EXIF and TIFF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
warnings.filterwarnings("ignore", module=r"PIL\..*")  # broken EXIF and the like: not the user's concern

Source = str | Path | bytes | BinaryIO


def is_picture_name(name: str) -> bool:
    """Whether the file name ends like a picture's."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def read_picture(source: Source, name: str | None = None) -> Image.Image:
    """Decode a picture to 8-bit RGB, EXIF rotation applied.

    Grey, palette, CMYK and 16-bit pictures are converted; transparency is dropped, as the
    field's loaders do. Of an animation the first frame is taken.

    Args:
        source: path, encoded bytes or binary file.
        name: what to call it in an error; the path by default.

    Raises:
        PictureError: empty, truncated, too large (also for the memory that is left), or no picture at all.
    """
    name = name or _name_of(source)
    with _open(source, name) as image:
        _check_memory(image, name)
        try:
            image.load()
            return to_rgb(_upright(image))
        except Exception as error:  # a decoder may raise anything on a hostile file
            raise PictureError(name, _explain(error)) from error


def read_mask(source: Source, name: str | None = None) -> NDArray[np.uint8]:
    """Decode a mask to class indices, (H, W) uint8, upright; 255 means not labelled.

    Raises:
        PictureError: unreadable, or not one byte a pixel.
    """
    name = name or _name_of(source)
    with _open(source, name) as image:
        _check_memory(image, name)
        try:
            image.load()
            mode = image.mode
            pixels = np.asarray(_upright(image))
        except Exception as error:
            raise PictureError(name, _explain(error)) from error
    if mode in ("L", "P", "1"):  # a palette's indices are the classes, its colours are for show
        return pixels.astype(np.uint8)
    if mode.startswith("I") and pixels.size and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    raise PictureError(name, f"a mask holds one class index a pixel, this is a {mode} picture; save it as 8-bit grey")


def read_size(source: Source, name: str | None = None) -> tuple[int, int]:
    """Upright (height, width) in pixels, from the header (of a PNG the rest is read for its EXIF).

    Raises:
        PictureError: the header is not a picture's.
    """
    name = name or _name_of(source)
    with _open(source, name) as image:
        width, height = image.size
        # Pillow states a TIFF's size as it is once turned upright by the TIFF's own tag.
        already = _ORIENTATION in getattr(image, "tag_v2", ())
        turned = not already and _orientation(image) in (5, 6, 7, 8)  # quarter turns
    return (width, height) if turned else (height, width)


def _open(source: Source, name: str) -> Image.Image:
    if isinstance(source, bytes):
        if not source:
            raise PictureError(name, "the file is empty")
        source = io.BytesIO(source)
    try:
        if isinstance(source, (str, Path)):
            status = Path(source).stat()
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise PictureError(name, "not a regular file")  # a pipe or a device may have no end
            if status.st_size == 0:
                raise PictureError(name, "the file is empty")
        image = Image.open(source, formats=_FORMATS)
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(name, _explain(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise PictureError(name, f"more pixels than the {MAX_PIXELS:,} allowed; scale it down")
    if width == 0 or height == 0:
        image.close()
        raise PictureError(name, "the picture has no pixels")
    return image


def _check_memory(image: Image.Image, name: str) -> None:
    """Refuse a picture that does not fit, since a system short of memory ends the process without a word."""
    width, height = image.size
    if width * height < _LARGE_PIXELS:
        return
    # The decoded picture, and its copy in RGB, which Pillow holds in four bytes a pixel.
    needed = width * height * (_BYTES.get(image.mode, 4) + 4)
    free = free_bytes()
    if free is not None and needed > free:
        raise PictureError(
            name, f"{width}x{height} pixels take {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; scale it down"
        )


def _upright(image: Image.Image) -> Image.Image:
    method = _TURNS.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where the EXIF block is absent or damaged, for the pixels are good."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the parser may raise anything on a hostile block
        return 1
    return value if isinstance(value, int) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode as 8-bit RGB, a copy without the source's metadata."""
    if image.mode.startswith("I"):  # 16 bits a pixel, held in 16 or 32; in 32 there may be only 8
        values = np.asarray(image).astype(np.int64)
        shift = 0 if image.mode == "I" and values.max(initial=0) <= 255 else 8
        image = Image.fromarray((values.clip(0, 65535) >> shift).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        image = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    rgb = image.convert("RGB")  # a copy even of RGB: the source's file and buffers are let go
    rgb.info.clear()  # an orientation left here would turn the picture a second time
    return rgb


def _name_of(source: Source) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    return str(getattr(source, "name", "picture"))


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a picture"
    if isinstance(error, PermissionError):
        return "not readable; check its permissions"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the {MAX_PIXELS:,} allowed; scale it down"
    if isinstance(error, MemoryError):
        return "does not fit into memory; scale it down"
    if "cannot identify" in str(error):
        return "not a picture that can be read (JPEG, PNG, WebP, BMP, TIFF, GIF)"
    text = " ".join(str(error).split())[:100]
    return f"damaged or truncated picture ({text or type(error).__name__})"
