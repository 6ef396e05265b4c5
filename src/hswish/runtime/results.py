"""What a prediction returns: labels with probabilities, or a mask, and pictures of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hswish.runtime.outline import area_outlines
from hswish.spec.errors import OptionError
from hswish.spec.palette import is_background, palette

_STRIP_PIXELS = 2**22
"""Pixels that are tinted at once."""
_SMALL_PX = 160
"""A picture whose shorter side is less is enlarged before a label is drawn on it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureResult:
    """What every result says about its picture."""

    name: str
    """the picture's path, or what it was called"""
    classes: tuple[str, ...]
    """class names in output order: of the probabilities, or of the mask's values"""
    picture: Image.Image = field(repr=False)
    """the picture, upright RGB at its own size"""
    time_ms: float
    """from the decoded picture to this result; a batch's time is shared out equally"""
    relative: Path = Path("picture")
    """where it lay under the folder or archive that was given, for naming outputs"""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationResult(PictureResult):
    """The classes of one picture."""

    probabilities: NDArray[np.float32]
    """(K,), sums to 1"""

    @property
    def label(self) -> str:
        """The most likely class."""
        return self.classes[int(self.probabilities.argmax())]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most likely classes with their probabilities, likeliest first."""
        return _largest(self.classes, self.probabilities, k)

    def overlay(self) -> Image.Image:
        """The picture with its label and probability on a band at the lower edge.

        Pictures under 160 pixels are enlarged by a whole factor, so that the label is readable.
        """
        label, probability = self.top(1)[0]
        return draw_label(self.picture, f"{label}  {probability:.0%}")

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """JSON-ready: name, label, probability, the `k` likeliest classes, milliseconds."""
        top = self.top(k)
        return {
            "name": self.name,
            "task": "classification",
            "label": top[0][0],
            "probability": round(top[0][1], 6),
            "top": [{"label": label, "probability": round(value, 6)} for label, value in top],
            "time_ms": round(self.time_ms, 3),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationResult(PictureResult):
    """The class of each pixel of one picture."""

    mask: NDArray[np.uint8]
    """(H, W), class indices at the picture's own size"""

    @property
    def label(self) -> str:
        """The class with the most pixels."""
        return self.top(1)[0][0]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` classes with the largest shares of the pixels, largest first."""
        return _largest(self.classes, self._shares(), k)

    def overlay(self, opacity: float = 0.5) -> Image.Image:
        """The picture with each class in its colour; a background class is left as it is.

        Args:
            opacity: 0 (the picture alone) to 1 (the colours alone).

        Raises:
            OptionError: `opacity` is out of range.
        """
        return colour_overlay(self.picture, self.mask, self.classes, opacity)

    def polygons(self, smallest: int = 16) -> list[dict[str, Any]]:
        """Outlines of the connected areas of each class that is no background, largest first.

        Args:
            smallest: areas of fewer pixels are left out.

        Returns:
            For each area its `label`, its `area` in pixels, and `points`, a closed outline of pixel
            corners [[x, y], ...] without its first point repeated; holes are not cut out.
        """
        found = area_outlines(self.mask, ~np.asarray(is_background(self.classes)), smallest)
        found.sort(key=lambda outline: -outline.area)
        return [{"label": self.classes[one.value], "area": one.area, "points": one.points} for one in found]

    def mask_image(self) -> Image.Image:
        """The mask as a palette picture ("P"): values are class indices, shown in their colours."""
        image = Image.fromarray(self.mask)
        image.putpalette(palette(self.classes).tobytes())  # turns "L" into "P", values kept
        return image

    def to_dict(self, k: int | None = None) -> dict[str, Any]:
        """JSON-ready: name, height and width in pixels, share of each class found or the `k` largest, milliseconds."""
        return {
            "name": self.name,
            "task": "segmentation",
            "label": self.label,
            "height": self.mask.shape[0],
            "width": self.mask.shape[1],
            "shares": {label: round(share, 6) for label, share in self.top(k or len(self.classes)) if share > 0},
            "time_ms": round(self.time_ms, 3),
        }

    def _shares(self) -> NDArray[np.float64]:
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))[: len(self.classes)]
        return counts / self.mask.size


Result = ClassificationResult | SegmentationResult


def colour_overlay(
    picture: Image.Image, mask: NDArray[np.uint8], classes: tuple[str, ...], opacity: float = 0.5
) -> Image.Image:
    """`picture` (RGB) tinted by the class of each pixel in `mask` (H, W).

    Pixels of a background class, and those not labelled (255), keep their colour.

    Raises:
        OptionError: `opacity` is outside 0 to 1.
    """
    if not 0 <= opacity <= 1:
        raise OptionError(f"opacity must be from 0 to 1, not {opacity!r}")
    tinted = np.zeros(256, bool)
    tinted[: len(classes)] = ~is_background(classes)
    weights = (tinted * round(255 * opacity)).astype(np.uint8)  # 8-bit: a huge picture needs no floats
    colours = palette(classes)
    image = picture.convert("RGB")
    image = image.copy() if image is picture else image
    rows = max(1, _STRIP_PIXELS // max(1, mask.shape[1]))  # nor all of it at once
    for top in range(0, len(mask), rows):
        strip = mask[top : top + rows]
        image.paste(Image.fromarray(colours[strip]), (0, top), Image.fromarray(weights[strip]))
    return image


def draw_label(picture: Image.Image, text: str) -> Image.Image:
    """`picture` with `text` on a dark band at its lower edge; a small one is enlarged first."""
    factor = -(-_SMALL_PX // min(picture.size)) if min(picture.size) < _SMALL_PX else 1
    if max(picture.size) * factor > 16 * _SMALL_PX:  # a thin strip would become a very long one
        factor = max(1, 16 * _SMALL_PX // max(picture.size))
    width, height = picture.width * factor, picture.height * factor
    image = picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
    size = max(9, min(width, height) // 12)
    font = ImageFont.load_default(size)
    while size > 9 and font.getlength(text) > 0.94 * width:
        size -= 1
        font = ImageFont.load_default(size)
    band = min(height, round(1.7 * size))
    dark = Image.new("RGB", (width, band), (16, 18, 22))
    image.paste(dark, (0, height - band), Image.new("L", dark.size, 190))
    place = (round(0.6 * size), height - band / 2)
    ImageDraw.Draw(image).text(place, text, fill=(255, 255, 255), font=font, anchor="lm")
    return image


def _largest(classes: tuple[str, ...], values: NDArray[np.floating], k: int) -> list[tuple[str, float]]:
    order = np.argsort(-values, kind="stable")[: max(k, 0)]  # stable: of equal values the first class wins
    return [(classes[index], float(values[index])) for index in order]
