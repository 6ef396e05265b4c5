from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.evaluate import prediction_page
from hswish.evaluate.sheet import GREEN, RED, contact_sheet
from hswish.spec.errors import DataError, OptionError, SaveError
from hswish.spec.palette import palette


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def has_colour(pixels: np.ndarray, colour: tuple[int, ...]) -> bool:
    return bool((pixels == colour).all(-1).any())


def test_labels_are_green_where_right_and_red_where_wrong(labelled, colour_engine, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    engine = colour_engine("classification", ("blue", "white"))
    prediction_page(engine, labelled({"blue": ["blue", "blue"]}), "val", path)
    right = pixels_of(path)
    assert has_colour(right, GREEN)
    assert not has_colour(right, RED)
    prediction_page(engine, labelled({"blue": ["white", "white"]}), "val", path)
    wrong = pixels_of(path)
    assert has_colour(wrong, RED)
    assert not has_colour(wrong, GREEN)


def test_scenes_show_three_panels_and_a_legend(scenes, colour_engine, tmp_path: Path) -> None:
    source = scenes(count=5)
    prediction_page(colour_engine("segmentation"), source, "val", tmp_path / "page.png", count=4)
    pixels = pixels_of(tmp_path / "page.png")
    colours = palette(source.classes)
    assert all(has_colour(pixels, tuple(colours[index])) for index in range(1, len(source.classes)))  # in the legend


def test_the_seed_chooses_the_pictures(labelled, colour_engine, tmp_path: Path) -> None:
    source = labelled({"red": ["red"] * 12, "blue": ["blue"] * 12})
    pages = []
    for seed in (1, 1, 2):
        prediction_page(colour_engine("classification"), source, "val", tmp_path / "page.png", count=8, seed=seed)
        pages.append(pixels_of(tmp_path / "page.png"))
    assert np.array_equal(pages[0], pages[1])
    assert not np.array_equal(pages[0], pages[2])


def test_unreadable_pictures_are_left_out(labelled, colour_engine, tmp_path: Path) -> None:
    source = labelled({"red": ["red"] * 3})
    files = sorted(tmp_path.rglob("*.png"))
    files[0].write_bytes(b"damaged")
    prediction_page(colour_engine("classification"), source, "val", tmp_path / "page.png")
    for file in files:
        file.write_bytes(b"damaged")
    with pytest.raises(DataError, match="none of 3 pictures"):
        prediction_page(colour_engine("classification"), source, "val", tmp_path / "page.png")


def test_errors(labelled, colour_engine, tmp_path: Path) -> None:
    source = labelled({"red": ["red"]})
    with pytest.raises(OptionError, match="1 picture"):
        prediction_page(colour_engine("classification"), source, "val", tmp_path / "page.png", count=0)
    with pytest.raises(DataError, match="no split 'train'"):
        prediction_page(colour_engine("classification"), source, "train", tmp_path / "page.png")
    (tmp_path / "file").touch()
    with pytest.raises(SaveError):
        prediction_page(colour_engine("classification"), source, "val", tmp_path / "file" / "page.png")


def test_long_legends_wrap() -> None:
    legend = [(f"a rather long class name {index}", (index, 0, 0)) for index in range(40)]
    page = contact_sheet("title", "subtitle", [], page_width=1000, legend=legend)
    assert page.width < 700
    assert page.height > 300
