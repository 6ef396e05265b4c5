"""A page of training pictures as the network gets them: augmented, their masks drawn."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.dataset import PictureDataset
from hswish.data.problems import BadFile
from hswish.evaluate.sheet import INK, QUIET, Tile, class_legend, contact_sheet, fit
from hswish.runtime.results import colour_overlay
from hswish.spec.errors import DataError, PictureError
from hswish.spec.files import write_aside
from hswish.spec.preprocess import Preprocess

_ITEMS = 8
_EPOCHS = 3
_LABELLED, _SCENE = (150, 150), (200, 160)
_OPACITY = 0.65


def augmented_page(dataset: PictureDataset, preprocess: Preprocess, path: str | Path, seed: int = 0) -> None:
    """Write a PNG page of eight pictures of `dataset`: each as it is, then as three epochs have it.

    Masks are drawn over the augmented pictures; black is what counts as not labelled.

    Raises:
        DataError: none of the pictures can be read.
        SaveError: the file cannot be written.
    """
    source, size = dataset.source, _SCENE if dataset.source.task == "segmentation" else _LABELLED
    chosen = random.Random(seed).sample(range(len(dataset)), min(_ITEMS, len(dataset)))
    tiles = []
    for index in chosen:
        item = dataset.items[index]
        samples = [dataset[(epoch, index)] for epoch in range(_EPOCHS)]
        try:
            panels = [fit(source.read_picture(item), *size)]
        except PictureError:  # the check of the data has listed it
            continue
        for sample in samples:
            if not isinstance(sample, BadFile):
                panels += _panels(source.classes, to_picture(sample.picture, preprocess), sample.target, size)
        name = source.classes[item.target] if isinstance(item.target, int) else ""
        lines = [(name, INK)] if name else [(item.picture.rpartition("/")[2], QUIET)]
        tiles.append(Tile(pictures=panels, lines=lines))
    if not tiles:
        raise DataError(f"{source.location}: none of {len(chosen)} pictures of {dataset.split} can be read")
    segmentation = source.task == "segmentation"
    what = f"the picture, then what {_EPOCHS} epochs make of it at {preprocess.width} x {preprocess.height} pixels"
    page = contact_sheet(
        f"{source.name}: {dataset.split}, augmented",
        f"{what}, with masks" if segmentation else what,
        tiles,
        page_width=1500 if segmentation else 1360,
        legend=class_legend(source.classes) if segmentation else (),
    )
    with write_aside(path) as aside:
        page.save(aside, format="PNG")


def to_picture(values: NDArray[np.float32], preprocess: Preprocess) -> Image.Image:
    """A network's input (C, h, w) as an RGB picture again: the reverse of `Preprocess.normalise`."""
    mean = np.asarray(preprocess.mean, np.float32)[:, None, None]
    std = np.asarray(preprocess.std, np.float32)[:, None, None]
    pixels = np.rint((values * std + mean) * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    if preprocess.channels == "BGR":
        pixels = pixels[..., ::-1]
    return Image.fromarray(np.repeat(pixels, 3, 2) if preprocess.channels == "L" else np.ascontiguousarray(pixels))


def _panels(classes: tuple[str, ...], picture: Image.Image, target: object, size: tuple[int, int]) -> list[Image.Image]:
    """The picture, and the picture under its mask where it has one."""
    small = fit(picture, *size)
    if isinstance(target, int):
        return [small]
    mask = np.asarray(fit(Image.fromarray(np.asarray(target)), *size, smooth=False))
    drawn = colour_overlay(small.convert("L").convert("RGB"), mask, classes, _OPACITY)
    drawn.paste((0, 0, 0), mask=Image.fromarray(((mask == 255) * 255).astype(np.uint8)))
    return [drawn]
