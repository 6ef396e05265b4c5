"""Which layout is recognised, and what is said of one that contradicts itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.data import open_data
from hswish.spec.errors import DataError, OptionError


def save(path: Path, size: tuple[int, int] = (16, 12), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing"), ("TRAIN", "validation")])
def test_split_names_in_all_spellings(classes_folder, names):
    source = open_data(classes_folder({f"{name}/{kind}": 2 for name in names for kind in ("cat", "dog")}))
    assert source.task == "classification"
    assert source.classes == ("cat", "dog")
    assert list(source.splits) == ["train", "val", "test"][: len(names)]
    assert [item.target for item in source.items("val")] == [0, 0, 1, 1]
    assert source.made_splits is None


def test_pictures_below_a_class_are_found_and_junk_is_not(classes_folder):
    root = classes_folder({"train/cat": 2, "train/cat/more/deep": 1, "train/dog": 1, "val/cat": 1, "val/dog": 1})
    save(root / "__MACOSX/train/cat/._000.png")
    save(root / "train/dog/.hidden.png")
    for junk in ("train/cat/Thumbs.db", "train/cat/notes.txt", ".DS_Store", "README.md"):
        (root / junk).write_bytes(b"x")
    assert len(open_data(root).items("train")) == 4


def test_top_folders_are_taken_off(classes_folder, zip_of):
    root = classes_folder({"a/b/train/cat": 2, "a/b/val/cat": 2})
    (root / "README.md").write_text("x")
    source = open_data(root)
    assert source.items("train")[0].picture == "train/cat/000.png"
    assert open_data(zip_of(root)).split_record() == source.split_record()


def test_a_class_may_be_called_train(classes_folder):
    assert open_data(classes_folder({"bus": 2, "car": 2, "train": 2})).classes == ("bus", "car", "train")


def test_a_single_class_and_a_single_split(classes_folder):
    assert open_data(classes_folder({"cat": 5}, "one")).classes == ("cat",)
    assert list(open_data(classes_folder({"train/cat": 5}, "two")).splits) == ["train", "val"]
    assert list(open_data(classes_folder({"test/cat": 5}, "three")).splits) == ["test"]
    assert list(open_data(classes_folder({"val/cat": 5}, "four")).splits) == ["val"]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"train/cat": 2, "train/dog": 0}, ["train/dog", "without pictures"]),
        ({"cat": 2, "dog": 0}, ["dog", "without pictures"]),
        ({"train/cat": 2, "train": 1}, ["train/000.png", "no class folder", "train/CLASS/"]),
        ({"train/cat": 2, "": 1}, ["set/000.png", "no class folder", "into train/CLASS/"]),
        ({"testing/cat": 2, "": 1}, ["no class folder", "into testing/CLASS/"]),
        ({"train/cat": 2, "val/cat": 2, "val": 1}, ["val/000.png", "into val/CLASS/"]),
        ({"train": 2, "val": 2}, ["no class folder"]),
        ({"train/cat": 2, "extra/cat": 2}, ["extra", "no split"]),
        ({"train/cat": 2, "val/dgo": 2}, ["val/dgo", "not in train"]),
        ({"val/cat": 2, "validation/cat": 2}, ["means val", "merge"]),
        ({"": 3}, ["no class folder", "CLASS/"]),
        ({"cat": 2, "": 1}, ["no class folder", "into CLASS/"]),
    ],
)
def test_classification_contradictions(classes_folder, counts, words):
    with pytest.raises(DataError) as caught:
        open_data(classes_folder(counts))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_segmentation_pairs_by_name(scenes_folder):
    root = scenes_folder({"train": 3, "val": 2})
    save(root / "images/train/sub/x.webp")
    save(root / "masks/train/sub/x.bmp", mode="L")
    source = open_data(root)
    assert (source.task, source.classes) == ("segmentation", ("sky", "road", "car"))
    assert [(item.picture, item.target) for item in source.items("train")][-1] == (
        "images/train/sub/x.webp",
        "masks/train/sub/x.bmp",
    )


def test_masks_may_spell_the_split_otherwise(scenes_folder):
    root = scenes_folder({"val": 2, "train": 2})
    (root / "masks/val").rename(root / "masks/Validation")
    assert len(open_data(root).items("val")) == 2


def test_picture_without_mask_and_mask_without_picture(scenes_folder):
    root = scenes_folder({"train": 3, "val": 2})
    (root / "masks/train/001.png").unlink()
    with pytest.raises(DataError, match=r"images/train/001\.jpg: has no mask; expected masks/train/001\.png"):
        open_data(root)
    (root / "images/train/001.jpg").unlink()
    (root / "images/val/000.jpg").unlink()
    with pytest.raises(DataError, match=r"masks/val/000\.png: is a mask without a picture"):
        open_data(root)


def test_ambiguous_pair_lossy_mask_and_stray_picture(scenes_folder):
    root = scenes_folder({"train": 3, "val": 2})
    save(root / "images/train/001.png")
    with pytest.raises(DataError, match="same name as"):
        open_data(root)
    (root / "images/train/001.png").unlink()
    save(root / "images/stray.png")
    with pytest.raises(DataError, match=r"stray\.png: lies outside train/ and val/"):
        open_data(root)
    (root / "images/stray.png").unlink()
    (root / "masks/val/000.png").unlink()
    save(root / "masks/val/000.jpg", mode="L")
    with pytest.raises(DataError, match=r"000\.jpg: \.jpg would alter"):
        open_data(root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("sky\nroad\nsky\n", "'sky' stands on lines 1 and 3"),
        ("sky\n\nroad\n", "line 2 is blank"),
        ("\n".join(map(str, range(256))), "256 classes"),
    ],
)
def test_bad_classes_txt(scenes_folder, text, words):
    with pytest.raises(DataError, match=rf"classes\.txt: .*{words}"):
        open_data(scenes_folder({"train": 2, "val": 1}, classes=text))


def test_missing_or_binary_classes_txt(scenes_folder):
    root = scenes_folder({"train": 2, "val": 1})
    (root / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        open_data(root)
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"classes\.txt: missing; write one class name a line"):
        open_data(root)


@pytest.mark.parametrize(("gone", "left"), [("masks", "images"), ("images", "masks")])
def test_half_of_a_segmentation_set(scenes_folder, gone, left):
    root = scenes_folder({"train": 2})
    (root / gone).rename(root.parent / "elsewhere")
    with pytest.raises(DataError, match=f"has {left}/ but no {gone}/"):
        open_data(root)


def test_the_task_asked_for_must_be_the_layout(scenes_folder, classes_folder):
    with pytest.raises(DataError, match="segmentation, not classification"):
        open_data(scenes_folder({"train": 2}), task="classification")
    with pytest.raises(DataError, match="needs images/ and masks/"):
        open_data(classes_folder({"cat": 2}), task="segmentation")
    with pytest.raises(OptionError, match="did you mean segmentation"):
        open_data(classes_folder({"cat": 2}), task="segmentaton")


def test_images_may_wrap_a_classification_set(classes_folder):
    root = classes_folder({"images/cat": 2, "images/dog": 2})
    assert open_data(root, task="classification").classes == ("cat", "dog")


def test_index_beyond_the_classes_names_everything(scenes_folder):
    root = scenes_folder({"train": 1, "val": 1})
    Image.fromarray(np.full((12, 16), 7, np.uint8)).save(root / "masks/train/000.png")
    source = open_data(root)
    with pytest.raises(DataError, match=r"masks/train/000\.png: value 7, but classes\.txt names 3 .*255 means not"):
        source.read(source.items("train")[0])


def test_sizes_that_differ_are_both_named(scenes_folder):
    root = scenes_folder({"train": 1, "val": 1})
    save(root / "masks/train/000.png", (8, 6), "L")
    source = open_data(root)
    with pytest.raises(DataError, match=r"000\.png: the mask is 8x6 pixels, its picture .*000\.jpg 16x12"):
        source.read(source.items("train")[0])
