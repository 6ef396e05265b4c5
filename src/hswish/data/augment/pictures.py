"""Augmentation of a picture together with its mask, on the CPU, by albumentations.

    picture, target, seed  ->  zoom or crop, mirror, turn and shift, colour, policy, erase  ->  normalise

A transform keeps no random state: its result is a pure function of its inputs and the
seed, so an item looks the same in whichever process, and after whichever resume, it is
loaded. albumentations is chosen by measurement (`benchmarks/augmentation.py`).
"""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.augment.policy import policy_step
from hswish.data.augment.settings import Augment
from hswish.spec.architecture import Task
from hswish.spec.errors import MissingPackageError, OptionError
from hswish.spec.palette import IGNORE_INDEX
from hswish.spec.preprocess import Preprocess

Target = int | NDArray[np.uint8]
"""A class index, or a mask (H, W) of class indices with 255 for not labelled."""


class Transform(Protocol):
    """From what a data set reads to what a batch holds."""

    def __call__(self, picture: Image.Image, target: Target, seed: int = 0) -> tuple[NDArray[np.float32], Target]: ...


class EvalTransform:
    """Preprocesses as prediction does; a mask keeps its own size, at which it is scored."""

    def __init__(self, preprocess: Callable[[Image.Image], NDArray[Any]]) -> None:
        self.preprocess = preprocess

    def __call__(self, picture: Image.Image, target: Target, seed: int = 0) -> tuple[NDArray[Any], Target]:
        """RGB picture to the network's input, (C, h, w) float32 by `Preprocess`; the target as it is."""
        return self.preprocess(picture), target


class TrainTransform:
    """Augments, brings to exactly the preprocessing's height and width, normalises.

    Not to be shared between threads.

    Raises:
        OptionError: a crop of more than the picture is asked for.
        MissingPackageError: albumentations is not installed.
    """

    def __init__(self, augment: Augment, preprocess: Preprocess, task: Task) -> None:
        if task == "classification" and augment.scale[1] > 1:
            raise OptionError(f"scale is the part of the area that a crop keeps, at most 1, not {augment.scale!r}")
        self.augment, self.preprocess, self.task = augment, preprocess, task
        self._fill = mean_colour(preprocess)
        self._pipeline = _pipeline(augment, preprocess, task, self._fill)

    def __call__(self, picture: Image.Image, target: Target, seed: int = 0) -> tuple[NDArray[np.float32], Target]:
        """One augmented item.

        Args:
            picture: 8-bit RGB.
            target: class index, or mask of the picture's size.
            seed: decides everything that is random.

        Returns:
            The picture (C, height, width) float32 and the class index or mask (height, width) uint8.
        """
        pixels = np.asarray(picture)
        generator = np.random.default_rng(seed)
        # One generator for all steps. `set_random_seed` would start each step at the same numbers,
        # and a mirrored picture would then always be a brighter one too.
        self._pipeline.set_random_state(generator, random.Random(seed))
        if isinstance(target, int):
            return self.preprocess.normalise(self._pipeline(image=pixels)["image"]), target
        pixels, target = self._zoom(pixels, target, generator)
        result = self._pipeline(image=pixels, mask=target)
        return self.preprocess.normalise(result["image"]), np.ascontiguousarray(result["mask"])

    def _zoom(
        self, pixels: NDArray[np.uint8], mask: NDArray[np.uint8], generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Scale as evaluation would, times the zoom; both factors are drawn on a logarithmic scale."""
        import cv2

        height, width = self.preprocess.output_size(*pixels.shape[:2])
        zoom, ratio = (
            math.exp(generator.uniform(math.log(low), math.log(high)))
            for low, high in (self.augment.scale, self.augment.ratio)
        )
        size = max(1, round(width * zoom * math.sqrt(ratio))), max(1, round(height * zoom / math.sqrt(ratio)))
        if size == (pixels.shape[1], pixels.shape[0]):
            return pixels, mask
        smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
        scaled = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        return (
            np.asarray(scaled, np.uint8),
            # NEAREST_EXACT samples pixel centres, as the picture's rules do; NEAREST is half a pixel off.
            np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8),
        )


def _pipeline(augment: Augment, preprocess: Preprocess, task: Task, fill: tuple[int, int, int]) -> Any:
    """The albumentations `Compose`; steps that would do nothing are left out."""
    A, cv2 = _import_albumentations()  # noqa: N806 - the library's own abbreviation
    height, width = preprocess.height, preprocess.width
    steps: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task == "segmentation":
            steps.append(
                A.RandomCrop(
                    height=height,
                    width=width,
                    pad_if_needed=True,
                    pad_position="random",
                    fill=fill,
                    fill_mask=IGNORE_INDEX,
                )
            )
        else:
            if preprocess.resize == "stretch":
                steps.append(A.Resize(height=height, width=width, area_for_downscale="image"))
            low, high = (ratio * width / height for ratio in augment.ratio)
            steps.append(
                A.RandomResizedCrop((height, width), augment.scale, (low, high), area_for_downscale="image", p=1.0)
            )
        if augment.mirror:
            steps.append(A.HorizontalFlip(p=augment.mirror))
        border = cv2.BORDER_CONSTANT if task == "segmentation" else cv2.BORDER_REFLECT_101
        affine = {"border_mode": border, "fill": fill, "fill_mask": IGNORE_INDEX}
        if augment.rotate or augment.translate:
            turn, shift = (-augment.rotate, augment.rotate), (-augment.translate, augment.translate)
            steps.append(A.Affine(rotate=turn, translate_percent=shift, p=1.0, **affine))
        if augment.brightness or augment.contrast or augment.saturation or augment.hue:
            steps.append(
                A.ColorJitter(augment.brightness, augment.contrast, augment.saturation, (-augment.hue, augment.hue), 1)
            )
        if augment.policy != "none":
            steps.append(policy_step(A, augment.policy, augment.policy_ops, augment.policy_strength, affine))
        if augment.erase:
            steps.append(A.Erasing((0.02, 0.33), (0.3, 3.3), fill=fill, fill_mask=IGNORE_INDEX, p=augment.erase))
        return A.Compose(steps)


def _import_albumentations() -> tuple[Any, Any]:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the network for a newer version
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import albumentations
            import cv2
    except ModuleNotFoundError as error:
        raise MissingPackageError("albumentations", "train", "augmentation") from error
    cv2.setNumThreads(0)  # the loading processes are the parallelism
    return albumentations, cv2


def mean_colour(preprocess: Preprocess) -> tuple[int, int, int]:
    """What padding is filled with, RGB: about zero once it is normalised."""
    values = [min(255, max(0, round(255 * value))) for value in preprocess.mean]
    if preprocess.channels == "BGR":
        values.reverse()
    red, green, blue = values if len(values) == 3 else values * 3
    return red, green, blue
