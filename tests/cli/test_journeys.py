"""From pictures to predictions and on: what a user does when nothing goes wrong."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hswish
from tests.cli.conftest import QUICK, make_pictures, make_scenes, noise, zipped

RUN_FILES = {
    "config.json",
    "metrics.jsonl",
    "best.safetensors",
    "last.ckpt",
    "curves.png",
    "classes.png",
    "predictions.png",
    "splits.json",
}


@pytest.mark.parametrize("form", ["folder", "folder with splits", "zip", "zip with splits, no top folder"])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_train_eval_predict_info(form: str, task: str, tmp_path: Path, hswish_cli) -> None:
    splits = ("train", "val", "test") if "splits" in form else ("",)
    data = (make_pictures if task == "classification" else make_scenes)(tmp_path / "data set", splits=splits)
    loose = data / ("" if task == "classification" else "images")
    source = zipped(data, top="no top" not in form) if "zip" in form else data
    model = "mobilenet_v3_small" if task == "classification" else "lraspp_mobilenet_v3_small"
    out = tmp_path / "run"

    trained = json.loads(hswish_cli("train", source, "-m", model, *QUICK, "-o", out, "--json").success().out)
    assert trained["best"] == str(out / "best.safetensors")
    files = {path.name for path in out.iterdir()}
    assert files == RUN_FILES
    (row,) = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"epoch", "loss", "lr", "pictures_per_second"} <= row.keys()

    split = "test" if "splits" in form else "val"
    outcome = hswish_cli("eval", trained["best"], source, "--split", split, "--workers", 0, "--json").success()
    scores = json.loads(outcome.out)
    names = {"top1", "top5"} if task == "classification" else {"miou", "pixel_accuracy"}
    assert all(0 <= scores[name] <= 1 for name in names)
    assert list(scores["per_class"]) == (["cat", "dog"] if task == "classification" else ["sky", "road", "car"])
    assert all(value is None or 0 <= value <= 1 for value in scores["per_class"].values())
    if split == "val":
        for name in names:
            assert scores[name] == pytest.approx(trained[name], abs=1e-6)

    predicted = hswish_cli("predict", trained["best"], loose, "-o", tmp_path / "drawn", "--json").success()
    results = [json.loads(line) for line in predicted.out.splitlines()]
    assert [result["name"] for result in results] == sorted(str(path) for path in loose.rglob("*.??g"))
    assert all(Path(result["overlay"]).is_file() for result in results)

    told = json.loads(hswish_cli("info", trained["best"], "--json").success().out)
    assert (told["model"], told["task"], told["input"][1:]) == (model, task, [32, 32])
    assert told["metrics"]["val"]["epoch"] == 1
    assert told["provenance"]["epochs"] == 1
    assert model in hswish_cli("info", trained["best"]).success().out
    assert "next: " in hswish_cli("train", source, "-m", model, *QUICK, "-o", tmp_path / "again").success().out


def test_evaluation_for_people_with_a_confusion_picture(
    made: Path, classifier: Path, tmp_path: Path, hswish_cli
) -> None:
    outcome = hswish_cli("eval", classifier, made / "pictures", "--workers", 0, "--confusion", tmp_path / "c.png")
    assert {"top1", "top5", "cat", "dog", "precision"} <= set(outcome.success().out.split())
    assert Image.open(tmp_path / "c.png").width > 100


def test_run_folders_name_themselves(pictures: Path, hswish_cli) -> None:
    for name in ("pictures-mobilenet_v3_small", "pictures-mobilenet_v3_small-2"):
        outcome = hswish_cli("train", f"{pictures}/", "-m", "mobilenet_v3_small", *QUICK).success()
        assert f"run folder: runs/{name}" in outcome.err
        assert (Path("runs") / name / "best.safetensors").is_file()


def test_a_recipe_of_ones_own_and_fields_set(pictures: Path, tmp_path: Path, hswish_cli) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text("from hswish.train.recipe import Recipe\nRECIPE = Recipe(lr=0.5, ema_decay=0.0)\n")
    flags = ("--recipe", recipe, "--set", "augment.mirror=0.25", "--set", "lr=0.01", "--seed", 3)
    hswish_cli("train", pictures, "-m", "mobilenet_v3_small", *QUICK, *flags, "-o", tmp_path / "run").success()
    config = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (config["lr"], config["ema_decay"], config["augment"]["mirror"], config["seed"]) == (0.01, 0.0, 0.25, 3)


def test_fine_tuning_with_other_classes(pictures: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    shutil.copytree(pictures / "cat", pictures / "cow")
    outcome = hswish_cli(
        "train", pictures, "-m", "mobilenet_v3_small", *QUICK, "--weights", classifier, "-o", tmp_path / "run"
    ).success()
    assert f"started from {classifier}; new classes, so drawn afresh: head.classifier" in outcome.err
    assert hswish.load(tmp_path / "run" / "best.safetensors").classes == ("cat", "cow", "dog")


# --------------------------------------------------------------------------------------
# What predict takes and writes
# --------------------------------------------------------------------------------------


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_sources_of_every_kind(made: Path, classifier: Path, stdin, hswish_cli) -> None:
    folder = made / "pictures"
    one = folder / "cat" / "00.png"

    def names(*sources: object) -> list[str]:
        lines = hswish_cli("predict", classifier, *sources, "--json").success().out.splitlines()
        return [json.loads(line)["name"] for line in lines]

    everything = sorted(str(path) for path in folder.rglob("*.png"))
    assert names(one) == [str(one)]
    assert names(folder) == everything
    assert names(f"{folder}/**/*.png") == everything
    assert names(f"{folder}/d*/0[0-2].png") == [f"{folder}/dog/0{number}.png" for number in range(3)]
    assert names(one, folder / "dog") == [str(one), *(name for name in everything if "/dog/" in name)]
    assert len(names(zipped(folder))) == 12
    stdin(one.read_bytes())
    assert names("-") == ["standard input"]
    stdin(f"{one}\r\n\n{folder}/dog/01.png\n".encode())
    assert names("-") == [str(one), f"{folder}/dog/01.png"]


def test_labels_for_people(made: Path, classifier: Path, hswish_cli) -> None:
    one = made / "pictures" / "cat" / "00.png"
    name, *labels = hswish_cli("predict", classifier, one, "--top", 2).success().out.split("  ")
    assert name == str(one)
    assert {label.split()[0] for label in labels} == {"cat", "dog"}


@pytest.mark.parametrize("size", [(33, 57), (1, 1), (7, 200)], ids=str)
def test_masks_have_the_pictures_own_size(size: tuple[int, int], segmenter: Path, tmp_path: Path, hswish_cli) -> None:
    noise(1, *size).save(tmp_path / "odd.png")
    outcome = hswish_cli("predict", segmenter, tmp_path / "odd.png", "-o", tmp_path / "drawn", "--json").success()
    (written,) = [json.loads(line) for line in outcome.out.splitlines()]
    mask = np.asarray(Image.open(written["mask"]))
    assert Image.open(written["mask"]).mode == "P"
    assert mask.shape == size == np.asarray(Image.open(written["overlay"])).shape[:2]
    assert np.array_equal(mask, hswish.Predictor(segmenter)(tmp_path / "odd.png").mask)


def test_without_out_masks_go_to_predictions(made: Path, segmenter: Path, hswish_cli) -> None:
    outcome = hswish_cli("predict", segmenter, made / "scenes" / "images").success()
    assert "wrote predictions/" in outcome.err
    assert sorted(path.name for path in Path("predictions").glob("00.*")) == ["00.mask.png", "00.overlay.png"]


def test_eval_keeps_to_the_split_of_the_run(tmp_path: Path, hswish_cli) -> None:
    """Pictures that were added after training are not allowed to move learnt ones into val."""
    data = make_pictures(tmp_path / "data", splits=("",))
    hswish_cli("train", data, "-m", "mobilenet_v3_small", *QUICK, "-o", tmp_path / "run").success()
    record = json.loads((tmp_path / "run/splits.json").read_text())
    folder = next(path for path in data.iterdir() if path.is_dir())
    first = next(folder.iterdir())
    for index in range(20):
        (folder / f"added{index}{first.suffix}").write_bytes(first.read_bytes())
    outcome = hswish_cli("eval", tmp_path / "run/best.safetensors", data, "--workers", 0, "--json").success()
    assert json.loads(outcome.out)["count"] == len(record["val"])
