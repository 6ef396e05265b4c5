"""The page of augmented samples: what the network gets is what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.data import Augment, PictureDataset, TrainTransform
from hswish.evaluate import Fed, augmented_page
from hswish.evaluate.augmented import to_picture
from hswish.spec.errors import DataError
from hswish.spec.palette import palette
from hswish.spec.preprocess import Preprocess


@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_a_picture_comes_back_from_the_networks_input(channels: str) -> None:
    count = 1 if channels == "L" else 3
    preprocess = Preprocess(
        height=12, width=16, resize="stretch", channels=channels, mean=(0.4,) * count, std=(0.2,) * count
    )
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    if channels == "L":
        pixels = np.repeat(pixels[..., :1], 3, 2)
    back = np.asarray(to_picture(preprocess(Image.fromarray(pixels)), preprocess)).astype(int)
    assert np.abs(back - pixels).max() <= 1


def test_masks_are_drawn_in_the_colours_of_the_legend(scenes, tmp_path: Path) -> None:
    source = scenes(count=4)
    preprocess = Preprocess(height=24, width=36, resize="stretch")
    dataset = PictureDataset(source, "val", TrainTransform(Augment(mirror=0.5, erase=0.5), preprocess, source.task))
    augmented_page(dataset, preprocess, tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    for colour in palette(source.classes)[1 : len(source.classes)]:
        assert (pixels == colour).all(-1).any()


def test_scenes_keep_their_colours_beside_the_masks(scenes, tmp_path: Path) -> None:
    """What is done to colours is seen, too: as many pixels of a class's own colour as three epochs and the picture."""
    source = scenes(count=1)
    preprocess = Preprocess(height=24, width=36, resize="stretch")
    dataset = PictureDataset(source, "val", TrainTransform(Augment(), preprocess, source.task))
    augmented_page(dataset, preprocess, tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    red = ((pixels[..., 0] > 200) & (pixels[..., 1:] < 60).all(-1)).nonzero()[1]
    assert len(np.unique(red // 204)) >= 4


def test_a_mixed_picture_and_the_shares_of_its_classes(labelled, tmp_path: Path) -> None:
    """The page draws what it is given, here half red and half blue, and is higher by the lines that say so."""
    source = labelled({"red": ["red"] * 3, "blue": ["blue"] * 3})
    preprocess = Preprocess(height=24, width=24)
    dataset = PictureDataset(source, "val", TrainTransform(Augment(), preprocess, source.task))
    half = preprocess(Image.new("RGB", (24, 24), (128, 0, 128)))

    def feed(epoch: int, indices: Sequence[int]) -> Fed:
        return Fed(np.stack([half] * len(indices)), np.full((len(indices), 2), 0.5, np.float32), indices)

    augmented_page(dataset, preprocess, tmp_path / "plain.png")
    augmented_page(dataset, preprocess, tmp_path / "page.png", feed=feed)
    plain, page = (Image.open(tmp_path / name).convert("RGB") for name in ("plain.png", "page.png"))
    assert (np.asarray(page) == (128, 0, 128)).all(-1).sum() > 3 * 6 * 1000
    assert page.height > plain.height


def test_labels_stand_below_and_bad_files_are_left_out(labelled, tmp_path: Path) -> None:
    source = labelled({"red": ["red"] * 3, "blue": ["blue"] * 3})
    preprocess = Preprocess(height=24, width=24)
    dataset = PictureDataset(source, "val", TrainTransform(Augment(), preprocess, source.task))
    augmented_page(dataset, preprocess, tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert (pixels == (255, 0, 0)).all(-1).sum() == (pixels == (0, 0, 255)).all(-1).sum() > 1000
    for item in source.items("val"):
        (Path(source.location) / item.picture).write_bytes(b"broken")
    with pytest.raises(DataError, match="none of 6 pictures of val can be read"):
        augmented_page(dataset, preprocess, tmp_path / "page.png")
