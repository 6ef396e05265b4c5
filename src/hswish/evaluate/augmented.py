"""A page of training pictures as the network gets them: augmented and mixed, their masks drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.dataset import PictureDataset, Sample
from hswish.evaluate.sheet import INK, QUIET, Tile, class_legend, contact_sheet, fit
from hswish.runtime.results import colour_overlay
from hswish.spec.errors import DataError, PictureError
from hswish.spec.files import write_aside
from hswish.spec.preprocess import Preprocess

_ITEMS = 8
_EPOCHS = 3
_LABELLED, _SCENE = (150, 150), (200, 160)
_OPACITY = 0.65


@dataclass(frozen=True)
class Fed:
    """What a network is fed: N items, less those that cannot be read."""

    pictures: NDArray[np.float32]
    """(N, C, h, w), normalised"""
    targets: NDArray[Any]
    """(N,) class indices, (N, K) shares of the classes where pictures are mixed, or (N, h, w) masks"""
    indices: Sequence[int]
    """of the items in their split"""


Feed = Callable[[int, Sequence[int]], Fed]
"""From an epoch and the indices of items to what that epoch makes of them, as one batch."""


def feed_of(dataset: PictureDataset) -> Feed:
    """What `dataset` alone makes of its items: augmented one by one, not mixed."""

    def feed(epoch: int, indices: Sequence[int]) -> Fed:
        samples = [loaded for index in indices if isinstance(loaded := dataset[(epoch, index)], Sample)]
        pictures, targets = ([getattr(sample, name) for sample in samples] for name in ("picture", "target"))
        return Fed(np.array(pictures), np.array(targets), [sample.index for sample in samples])

    return feed


def augmented_page(
    dataset: PictureDataset, preprocess: Preprocess, path: str | Path, seed: int = 0, feed: Feed | None = None
) -> None:
    """Write a PNG page of eight pictures of `dataset`: each as it is, then as three epochs have it.

    Masks are drawn beside the augmented pictures; black is what counts as not labelled. Below pictures that
    are mixed stand the shares of their classes.

    Args:
        feed: makes the batches; those of `dataset`, not mixed, if None.

    Raises:
        DataError: none of the pictures can be read.
        SaveError: the file cannot be written.
    """
    source, size = dataset.source, _SCENE if dataset.source.task == "segmentation" else _LABELLED
    chosen = random.Random(seed).sample(range(len(dataset)), min(_ITEMS, len(dataset)))
    epochs = [(feed or feed_of(dataset))(epoch, chosen) for epoch in range(_EPOCHS)]
    tiles = []
    for index in chosen:
        item = dataset.items[index]
        try:
            panels = [fit(source.read_picture(item), *size)]
        except PictureError:  # the check of the data has listed it
            continue
        name = source.classes[item.target] if isinstance(item.target, int) else ""
        lines = [(name, INK)] if name else [(item.picture.rpartition("/")[2], QUIET)]
        for number, fed in enumerate(epochs, 1):
            if index in fed.indices:
                row = list(fed.indices).index(index)
                panels += _panels(source.classes, to_picture(fed.pictures[row], preprocess), fed.targets[row], size)
                if fed.targets.ndim == 2:
                    lines.append((f"{number}: {_shares(fed.targets[row], source.classes)}", QUIET))
        tiles.append(Tile(pictures=panels, lines=lines))
    if not tiles:
        raise DataError(f"{source.location}: none of {len(chosen)} pictures of {dataset.split} can be read")
    segmentation = source.task == "segmentation"
    what = f"the picture, then what {_EPOCHS} epochs make of it at {preprocess.width} x {preprocess.height} pixels"
    page = contact_sheet(
        f"{source.name}: {dataset.split}, augmented",
        f"{what}, each with its mask; black is not labelled" if segmentation else what,
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


def _panels(
    classes: tuple[str, ...], picture: Image.Image, target: NDArray[Any], size: tuple[int, int]
) -> list[Image.Image]:
    """The picture; with a mask (h, w) also the mask in the classes' colours, over the picture in grey."""
    small = fit(picture, *size)
    if target.ndim < 2:
        return [small]
    mask = np.asarray(fit(Image.fromarray(target), *size, smooth=False))
    drawn = colour_overlay(small.convert("L").convert("RGB"), mask, classes, _OPACITY)
    drawn.paste((0, 0, 0), mask=Image.fromarray(((mask == 255) * 255).astype(np.uint8)))
    return [small, drawn]


def _shares(soft: NDArray[np.float32], classes: tuple[str, ...]) -> str:
    """Shares (K,) in words, the largest first, as `70% cat, 30% dog`."""
    order = np.argsort(-soft, kind="stable")
    return ", ".join(f"{soft[label]:.0%} {classes[label]}" for label in order if soft[label] >= 0.005)
