"""Tiny data sets in the exact layouts of public ones: their folders, names, and files beside the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

SYNSETS = ("n01440764", "n02012849", "n02085620", "n03126707")
WORDS = ("tench, Tinca tinca", "crane", "Chihuahua", "crane")

CITIES = {"train": ("aachen", "weimar"), "val": ("frankfurt",), "test": ("berlin",)}
LABEL_COLOURS = {7: (128, 64, 128), 11: (70, 70, 70), 23: (70, 130, 180), 24: (220, 20, 60), 26: (0, 0, 142)}
"""Colour by label id, of road, building, sky, person and car, as in the data set's labels.py."""

Val = Literal["sorted", "kaggle", "caffe", "caffe-index", "tensorflow", "devkit"]


def make_imagenet(root: Path, val: Val = "sorted", count: int = 3, synsets: tuple[str, ...] = SYNSETS) -> Path:
    """`count` pictures a synset and split; `val` says how val is labelled. Pictures are of one grey a synset.

    In all but "sorted" the val pictures lie flat, the synsets taken in turn.
    """
    kaggle = val == "kaggle"
    pictures = root / "ILSVRC/Data/CLS-LOC" if kaggle else root
    for index, synset in enumerate(synsets):
        (pictures / "train" / synset).mkdir(parents=True)
        for number in range(count):
            _grey(index, number).save(pictures / f"train/{synset}/{synset}_{100 * number + 26}.JPEG")
    truth = {f"ILSVRC2012_val_{number + 1:08d}": number % len(synsets) for number in range(count * len(synsets))}
    for number, (name, index) in enumerate(truth.items()):
        place = pictures / "val" / synsets[index] if val == "sorted" else pictures / "val"
        place.mkdir(parents=True, exist_ok=True)
        _grey(index, number).save(place / f"{name}.JPEG")
    rows = [(name, synsets[index]) for name, index in truth.items()]
    if kaggle:
        (pictures / "test").mkdir()
        _grey(0, 0).save(pictures / "test/ILSVRC2012_test_00000001.JPEG")
        (root / "ILSVRC/ImageSets/CLS-LOC").mkdir(parents=True)
        (root / "ILSVRC/ImageSets/CLS-LOC/val.txt").write_text(
            "".join(f"{name} {number}\n" for number, name in enumerate(truth, 1))
        )
        (root / "LOC_val_solution.csv").write_text(
            "ImageId,PredictionString\n" + "".join(f"{name},{synset} 10 8 30 28 \n" for name, synset in reversed(rows))
        )
        (root / "LOC_synset_mapping.txt").write_text(
            "".join(f"{synset} {words}\n" for synset, words in zip(SYNSETS, WORDS, strict=True))
        )
    elif val == "caffe":
        (root / "val.txt").write_text("".join(f"{name}.JPEG {synset}\n" for name, synset in rows))
    elif val == "caffe-index":
        (root / "val.txt").write_text("".join(f"{name}.JPEG {index}\n" for name, index in truth.items()))
    elif val == "tensorflow":
        lines = "".join(f"{synset}\n" for _, synset in rows)
        (root / "imagenet_2012_validation_synset_labels.txt").write_text(lines)
    elif val == "devkit":
        _write_devkit(root / "ILSVRC2012_devkit_t12/data", list(truth.values()), synsets)
    return root


def make_cityscapes(root: Path, count: int = 2, size: tuple[int, int] = (32, 64), kind: str = "labelIds") -> Path:
    """`count` frames a city with all the files of the fine labels; masks of `kind` only, where it is labelTrainIds."""
    height, width = size
    for split, cities in CITIES.items():
        for city in cities:
            for folder in ("leftImg8bit", "gtFine"):
                (root / folder / split / city).mkdir(parents=True)
            for number in range(count):
                stem = f"{city}_{number:06d}_000019"
                labels = _city_labels(height, width, number) if split != "test" else np.ones(size, np.uint8)
                colours = np.zeros((256, 3), np.uint8)
                for label, colour in LABEL_COLOURS.items():
                    colours[label] = colour
                noise = np.random.default_rng(number).integers(0, 40, (height, width, 3), np.uint8)
                Image.fromarray(np.clip(colours[labels].astype(int) + noise, 0, 255).astype(np.uint8)).save(
                    root / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
                )
                beside = root / f"gtFine/{split}/{city}/{stem}_gtFine"
                Image.fromarray(labels).save(f"{beside}_labelIds.png")
                Image.fromarray(labels.astype(np.uint16) * 1000).save(f"{beside}_instanceIds.png")
                Image.fromarray(colours[labels]).save(f"{beside}_color.png")
                Path(f"{beside}_polygons.json").write_text(
                    json.dumps({"imgHeight": height, "imgWidth": width, "objects": []})
                )
                if kind == "labelTrainIds":
                    train_id = {7: 0, 11: 2, 23: 10, 24: 11, 26: 13}
                    table = np.full(256, 255, np.uint8)
                    table[list(train_id)] = list(train_id.values())
                    Image.fromarray(table[labels]).save(f"{beside}_labelTrainIds.png")
                    Path(f"{beside}_labelIds.png").unlink()
    (root / "README").write_text("as the archives have it")
    (root / "license.txt").write_text("as the archives have it")
    return root


def _grey(index: int, number: int) -> Image.Image:
    pixels = 30 + 60 * index + np.random.default_rng(number).integers(0, 20, (40, 48, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def _city_labels(height: int, width: int, number: int) -> np.ndarray:
    """Sky over buildings over a road with a car and a person, the car's bonnet (ego vehicle) at the bottom."""
    labels = np.full((height, width), 23, np.uint8)
    labels[height // 3 :] = 11
    labels[height // 2 :] = 7
    left = width // 4 + 3 * number
    labels[height // 2 : height // 2 + 6, left : left + 12] = 26
    labels[height // 2 : height // 2 + 7, left + 20 : left + 23] = 24
    labels[-3:] = 1
    return labels


def _write_devkit(folder: Path, indices: list[int], synsets: tuple[str, ...]) -> None:
    """The kit's own numbers (here: in reverse) and the MATLAB table of them, inner nodes of WordNet included."""
    from scipy.io import savemat

    folder.mkdir(parents=True)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(
        "".join(f"{len(synsets) - index}\n" for index in indices)
    )
    kinds = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "f8")]
    rows = [(len(synsets) - number, synset, "word", "gloss", 0) for number, synset in enumerate(synsets)]
    rows.append((len(synsets) + 1, "n00001740", "entity", "the root", len(synsets)))
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)})
