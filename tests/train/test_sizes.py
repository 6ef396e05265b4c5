"""Input sizes: the data's own, the paper's, or the recipe's."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hswish.data import open_data
from hswish.spec.preprocess import Preprocess
from hswish.train import Recipe
from hswish.train.sizes import choose_preprocess

DEFAULT = Preprocess(height=224, width=224)


def chosen(folder: Path, task: str, size: tuple[int, int], recipe: dict[str, int]) -> tuple[int, int]:
    for name in ("a", "b"):
        if task == "classification":
            (folder / name).mkdir(parents=True)
            Image.new("RGB", size).save(folder / name / "0.png")
        else:
            for kind, mode in (("images", "RGB"), ("masks", "L")):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.new(mode, size).save(folder / kind / f"{name}.png")
            (folder / "classes.txt").write_text("a\n")
    preprocess = choose_preprocess(open_data(folder), Recipe(**recipe), DEFAULT)  # type: ignore[arg-type]
    assert preprocess.resize == ("crop" if task == "classification" else "shorter")
    return preprocess.height, preprocess.width


@pytest.mark.parametrize(
    ("size", "recipe", "expected"),
    [
        ((32, 32), {}, (64, 64)),
        ((8, 8), {}, (64, 64)),
        ((100, 70), {}, (160, 160)),
        ((640, 480), {}, (224, 224)),
        ((640, 480), {"height": 96}, (96, 96)),
        ((640, 480), {"height": 96, "width": 128}, (96, 128)),
    ],
)
def test_classification(
    tmp_path: Path, size: tuple[int, int], recipe: dict[str, int], expected: tuple[int, int]
) -> None:
    assert chosen(tmp_path, "classification", size, recipe) == expected


@pytest.mark.parametrize(
    ("size", "recipe", "expected"),
    [
        ((480, 360), {}, (360, 480)),
        ((2048, 1024), {}, (512, 1024)),
        ((641, 479), {}, (479, 641)),
        ((480, 360), {"height": 180}, (180, 240)),
        ((360, 480), {"height": 180}, (240, 180)),
        ((480, 360), {"height": 128, "width": 256}, (128, 256)),
    ],
)
def test_segmentation(tmp_path: Path, size: tuple[int, int], recipe: dict[str, int], expected: tuple[int, int]) -> None:
    assert chosen(tmp_path, "segmentation", size, recipe) == expected
