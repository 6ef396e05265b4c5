"""From a picture to the network's input, in numpy: the one implementation there is.

An artifact stores a `Preprocess`; training's evaluation, prediction and calibration call
it. The line that matters is `normalise`: `(pixel / 255 - mean) / std`, channels first.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.spec.errors import OptionError, unknown_name

Resize = Literal["crop", "shorter", "stretch"]
_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_CHANNELS = {"RGB": 3, "BGR": 3, "L": 1}
_MAX_ASPECT = 8
"""How many times longer than needed a picture may be before it is treated specially, to bound memory."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How pictures become a network's input; stored in every artifact.

    Raises:
        OptionError: a field is out of range.
    """

    height: int
    """input height in pixels (the shorter side is meant where `resize` keeps the shape)"""
    width: int
    """input width in pixels"""
    resize: Resize = "crop"
    """crop: shorter side to size / crop_fraction, then the centre; shorter: shorter side to
    the smaller of height and width, shape kept; stretch: to height x width"""
    crop_fraction: float = 1.0
    """part of the scaled shorter side that `crop` keeps, 0.05 to 1"""
    interpolation: str = "bilinear"
    """nearest, bilinear or bicubic, antialiased"""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """subtracted from each channel, in [0, 1] units"""
    std: tuple[float, ...] = IMAGENET_STD
    """each channel is divided by it, in [0, 1] units"""
    channels: str = "RGB"
    """order of the input's channels: RGB, BGR or L (grey)"""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 16384:
                raise OptionError(f"preprocess {name} must be 1 to 16384 pixels, not {value!r}")
        if self.resize not in ("crop", "shorter", "stretch"):
            raise unknown_name("resize rule", self.resize, ("crop", "shorter", "stretch"))
        if self.interpolation not in tuple(_INTERPOLATION):
            raise unknown_name("interpolation", self.interpolation, _INTERPOLATION)
        if self.channels not in tuple(_CHANNELS):
            raise unknown_name("channel order", self.channels, _CHANNELS)
        if not isinstance(self.crop_fraction, (int, float)) or not 0.05 <= self.crop_fraction <= 1:
            raise OptionError(f"crop_fraction must be 0.05 to 1, not {self.crop_fraction!r}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        count = self.channel_count
        if len(self.mean) != count or len(self.std) != count:
            raise OptionError(f"mean and std need {count} values for {self.channels}")
        if not all(value > 0 for value in self.std):
            raise OptionError("std must be above 0")

    @property
    def channel_count(self) -> int:
        """Channels of the input that is made."""
        return _CHANNELS[self.channels]

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB picture to (C, H, W) float32."""
        return self.normalise(np.asarray(self.resized(image)))

    def resized(self, image: Image.Image) -> Image.Image:
        """The RGB picture scaled and cropped by the rule, still 8-bit RGB."""
        if self.resize == "stretch":
            return self._scale(image, self.height, self.width)
        if self.resize == "shorter":
            return self._scale(image, *self.output_size(image.height, image.width))
        return self._centre_crop(image)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of (height, width) pixels has after `resized`."""
        if self.resize != "shorter":
            return self.height, self.width
        target = min(self.height, self.width)
        scale = min(target / min(height, width), target * _MAX_ASPECT / max(height, width))
        # Cut down to whole pixels, as torchvision and timm do; the small addition is for scales such as 1/3.
        return max(1, int(height * scale + 1e-6)), max(1, int(width * scale + 1e-6))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (C, H, W) float32: (pixel / 255 - mean) / std."""
        return self._scaled(self.ordered(pixels).transpose(2, 0, 1))

    def ordered(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB to (H, W, C) uint8, the channels that the input has in their order."""
        if self.channels == "L":
            return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        return pixels[..., ::-1] if self.channels == "BGR" else pixels

    def byte_values(self) -> NDArray[np.float32]:
        """(C, 256) float32: what `normalise` makes of each byte, by channel."""
        return self._scaled(np.tile(np.arange(256, dtype=np.uint8), (self.channel_count, 1)))

    def _scaled(self, planes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(C, ...) to floats, plane by plane: a fifth of the time of all channels together."""
        made = np.empty(planes.shape, np.float32)
        for plane, given, mean, std in zip(made, planes, self.mean, self.std, strict=True):
            plane[...] = given
            plane /= np.float32(255)
            plane -= np.float32(mean)
            plane /= np.float32(std)
        return made

    def _centre_crop(self, image: Image.Image) -> Image.Image:
        """Scale so that the crop fills `crop_fraction` of it, then cut out the centre."""
        scaled_height = round(self.height / self.crop_fraction)
        scaled_width = round(self.width / self.crop_fraction)
        scale = max(scaled_height / image.height, scaled_width / image.width)
        image = _trim(image, scaled_height / scale, scaled_width / scale)
        height = max(self.height, int(image.height * scale + 1e-6))
        width = max(self.width, int(image.width * scale + 1e-6))
        image = self._scale(image, height, width)
        top, left = round((height - self.height) / 2), round((width - self.width) / 2)
        return image.crop((left, top, left + self.width, top + self.height))

    def _scale(self, image: Image.Image, height: int, width: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), _INTERPOLATION[self.interpolation])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """The reverse of `to_dict`.

        Raises:
            OptionError: an unknown or missing key, or a value out of range.
        """
        if not isinstance(values, dict):
            raise OptionError(f"preprocess must be a table of named values, not {type(values).__name__}")
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_name("preprocess key", key, known)
        for key in ("height", "width"):
            if key not in values:
                raise OptionError(f"preprocess lacks the key {key}")
        return cls(**values)


def _trim(image: Image.Image, height: float, width: float) -> Image.Image:
    """Cut far ends off a picture of which only the centre, (height, width) pixels, will be shown."""
    keep_height = min(image.height, math.ceil(height * _MAX_ASPECT))
    keep_width = min(image.width, math.ceil(width * _MAX_ASPECT))
    if (keep_width, keep_height) == image.size:
        return image
    left, top = (image.width - keep_width) // 2, (image.height - keep_height) // 2
    return image.crop((left, top, left + keep_width, top + keep_height))


def _finite(name: str, values: Any) -> tuple[float, ...]:
    """A list of numbers as floats."""
    if isinstance(values, (list, tuple)) and all(isinstance(value, (int, float)) for value in values):
        with contextlib.suppress(OverflowError):  # an integer of 400 digits
            numbers = tuple(float(value) for value in values)
            if all(math.isfinite(number) for number in numbers):
                return numbers
    raise OptionError(f"{name} must be a list of finite numbers")
