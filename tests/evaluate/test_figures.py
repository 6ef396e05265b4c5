from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.evaluate import Evaluation, class_curves_picture, confusion_picture, curves_picture
from hswish.evaluate.sheet import Tile, contact_sheet
from hswish.metrics import ClassificationMetrics
from hswish.spec.errors import DataError, MissingPackageError, SaveError


def evaluation_of(classes: int, seed: int = 0) -> Evaluation:
    """A fair classifier that takes a class for its neighbour at times; the last class never occurs."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, max(1, classes - 1), 40 * classes)
    logits = rng.normal(size=(len(targets), classes))
    logits[np.arange(len(targets)), (targets + (rng.random(len(targets)) < 0.2)) % classes] += 4
    metrics = ClassificationMetrics(classes)
    metrics.update(logits, targets)
    return Evaluation(
        model="mobilenet_v3_small",
        data="made-up",
        split="val",
        task="classification",
        classes=tuple(f"class number {index}" if index % 3 else f"c{index}" for index in range(classes)),
        scores=metrics.compute(),
        skipped=(),
        seconds=1.0,
    )


def history_of(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "loss": 2.2 * 0.93**epoch + 0.3,
            "lr": 0.1 * np.cos(epoch / epochs * np.pi / 2) ** 2,
            "top1": 0.92 - 0.7 * 0.92**epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


@pytest.mark.parametrize("classes", [2, 11, 100])
def test_confusion_is_drawn_for_few_and_many_classes(classes: int, tmp_path: Path) -> None:
    confusion_picture(evaluation_of(classes), tmp_path / "confusion.png")
    image = opened(tmp_path / "confusion.png")
    assert min(image.size) > 400
    assert max(image.size) < 5000
    assert len(image.convert("RGB").getcolors(2**24) or []) > 50


def test_any_name_of_a_folder_can_be_drawn(tmp_path: Path) -> None:
    """Half a formula, and bytes that are no UTF-8, as a file system may give them."""
    names = ("$^$", b"caf\xe9".decode("utf-8", "surrogateescape"), "a_{b", "\\frac")
    evaluation = replace(evaluation_of(4), classes=names, data="$x^$")
    confusion_picture(evaluation, tmp_path / "confusion.png")
    rows = [{"epoch": 1, "top1": 0.5, "per_class": dict.fromkeys(names, 0.5)}]
    class_curves_picture(rows, tmp_path / "classes.png")
    tile = Tile(pictures=[Image.new("RGB", (8, 8))], lines=[(names[1], (0, 0, 0))])
    page = contact_sheet(names[1], names[1], [tile], page_width=600, legend=[(names[1], (1, 2, 3))])
    assert page.width >= 560
    opened(tmp_path / "confusion.png")
    opened(tmp_path / "classes.png")


def test_matplotlib_and_torch_are_imported_only_where_needed() -> None:
    code = "import sys, hswish.evaluate; assert not {'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("epochs", [1, 8, 90])
def test_curves_are_drawn(epochs: int, tmp_path: Path) -> None:
    curves_picture(history_of(epochs), tmp_path / "deep" / "curves.png")
    assert opened(tmp_path / "deep" / "curves.png").width > 1000
    curves_picture(history_of(epochs), tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_rows_with_gaps_are_drawn(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": float("nan"), "miou": 0.2}, {"epoch": 2, "loss": 1.5, "miou": None}, {"epoch": 3}]
    curves_picture(rows, tmp_path / "curves.png")
    curves_picture([{"epoch": 1, "loss": 2.0}], tmp_path / "curves.png")
    with pytest.raises(DataError, match="no epoch"):
        curves_picture([], tmp_path / "curves.png")


@pytest.mark.parametrize("classes", [1, 19, 150])
def test_classes_over_time_are_drawn(classes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"class {number}" for number in range(classes)]
    rows = [
        {"epoch": epoch, "miou": 0.5, "per_class": {name: float(rng.random()) for name in names}}
        for epoch in range(1, 13)
    ]
    rows[-1]["per_class"][names[0]] = None if classes > 1 else 0.5
    class_curves_picture([{"epoch": 0}, *rows], tmp_path / "classes.png")
    image = opened(tmp_path / "classes.png")
    assert image.height > 150 + 20 * classes
    with pytest.raises(DataError, match="no epoch has recorded its classes"):
        class_curves_picture([{"epoch": 1, "loss": 2.0}], tmp_path / "classes.png")


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="cannot save"):
        curves_picture(history_of(3), tmp_path / "file" / "curves.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"hswish\[plot\]"):
        curves_picture(history_of(3), tmp_path / "curves.png")
