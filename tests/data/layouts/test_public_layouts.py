"""ImageNet and Cityscapes in their own layouts, and what is said where something is missing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from hswish.data import class_frequencies, open_data
from hswish.data.layouts.cityscapes import TRAIN_IDS
from hswish.data.layouts.synsets import class_names
from hswish.data.stores import open_store
from hswish.data.tree import Tree
from hswish.spec.errors import DataError
from hswish.spec.labels import load_labels
from tests.standins import SYNSETS, make_cityscapes, make_imagenet


def greys(source, split):
    """Class of each picture as its own pixels tell it."""
    return [round((np.asarray(source.read_picture(item)).mean() - 40) / 60) for item in source.items(split)]


@pytest.mark.parametrize("val", ["sorted", "kaggle", "caffe", "caffe-index", "tensorflow", "devkit"])
def test_imagenet_in_each_of_its_forms(tmp_path, val):
    source = open_data(make_imagenet(tmp_path / "imagenet", val))
    assert (source.task, list(source.splits)) == ("classification", ["train", "val"])
    assert [item.target for item in source.items("train")] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for split in ("train", "val"):
        assert [item.target for item in source.items(split)] == greys(source, split)
    assert source.made_splits is None
    named = ("tench", "crane (n02012849)", "Chihuahua", "crane (n03126707)")
    assert source.classes == (named if val == "kaggle" else SYNSETS)


def test_folders_of_annotations_are_no_pictures(tmp_path):
    """Kaggle's ILSVRC/Annotations/CLS-LOC/train has the folders of Data/CLS-LOC/train, with .xml in them."""
    made = make_imagenet(tmp_path / "made", "kaggle")
    root = tmp_path / "kaggle"
    shutil.copytree(made, root / "ILSVRC/Data/CLS-LOC")
    for split in ("train", "val"):
        for synset in SYNSETS:
            folder = root / "ILSVRC/Annotations/CLS-LOC" / split / synset
            folder.mkdir(parents=True)
            (folder / f"{synset}_1.xml").write_text("<annotation/>")
    assert {split: len(items) for split, items in open_data(root).splits.items()} == {
        split: len(items) for split, items in open_data(made).splits.items()
    }


def test_imagenet_in_a_zip_is_the_same(tmp_path, zip_of):
    root = make_imagenet(tmp_path / "imagenet", "kaggle")
    folder, archive = open_data(root), open_data(zip_of(root))
    assert archive.classes == folder.classes
    assert [item.target for item in archive.items("val")] == [item.target for item in folder.items("val")]


def test_all_thousand_synsets_are_called_as_published_networks_call_them(tmp_path):
    synsets = tuple(f"n{10_000_000 + 7 * number}" for number in range(1000))
    root = make_imagenet(tmp_path / "imagenet", "sorted", count=1, synsets=synsets[:3])
    (root / "synset_words.txt").write_text("".join(f"{synset} some words\n" for synset in synsets))
    assert open_data(root).classes == load_labels("imagenet1k")[:3] == ("tench", "goldfish", "great white shark")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert class_names(Tree(open_store(empty)), synsets) == load_labels("imagenet1k")


def test_val_alone_can_be_evaluated(tmp_path):
    root = make_imagenet(tmp_path / "imagenet", "caffe")
    shutil.rmtree(root / "train")
    source = open_data(root)
    assert list(source.splits) == ["val"]
    assert [item.target for item in source.items("val")] == greys(source, "val")


def test_train_alone_gets_a_val_held_out(tmp_path):
    root = make_imagenet(tmp_path / "imagenet")
    shutil.rmtree(root / "val")
    assert open_data(root).made_splits.startswith("no val split")


def test_flat_val_that_nothing_explains(tmp_path):
    root = make_imagenet(tmp_path / "imagenet", "caffe")
    (root / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val: no file says the synsets .* put LOC_val_solution\.csv"):
        open_data(root)


@pytest.mark.parametrize(
    ("val", "file", "spoil", "words"),
    [
        ("caffe", "val.txt", lambda text: text.split("\n", 1)[1], r"val\.txt: does not say .*_00000001"),
        ("caffe-index", "val.txt", lambda text: text.replace(" 3\n", " 4\n", 1), "index 4, but train has 4 synsets"),
        ("tensorflow", "imagenet_2012_validation_synset_labels.txt", lambda text: text[:30], "has 3 lines and none"),
        ("kaggle", "LOC_val_solution.csv", lambda text: "ImageId\n", "does not say the synset"),
    ],
)
def test_mappings_that_do_not_fit(tmp_path, val, file, spoil, words):
    root = make_imagenet(tmp_path / "imagenet", val)
    (root / file).write_text(spoil((root / file).read_text()))
    with pytest.raises(DataError, match=words) as caught:
        open_data(root)
    assert "\n" not in str(caught.value)


def running_numbers(root):
    """The release's ImageSets/CLS-LOC/val.txt: names with the numbers of their lines."""
    names = sorted(path.stem for path in root.rglob("ILSVRC2012_val_*.JPEG"))
    file = root / "ImageSets/CLS-LOC/val.txt"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{name} {number}\n" for number, name in enumerate(names, 1)))


@pytest.mark.parametrize("count", [1, 3, 12])  # of which 3 would be classes of train, too
@pytest.mark.parametrize("val", ["kaggle", "caffe", "caffe-index", "tensorflow", "devkit"])
def test_the_numbers_of_lines_are_no_classes(tmp_path, val, count):
    root = make_imagenet(tmp_path / "imagenet", val)
    for picture in sorted(root.rglob("ILSVRC2012_val_*.JPEG"))[count:]:
        picture.unlink()
    if val != "kaggle":  # which brings it
        running_numbers(root)
    source = open_data(root)
    assert len(source.items("val")) == count
    assert [item.target for item in source.items("val")] == greys(source, "val")


def test_nothing_but_the_numbers_of_lines(tmp_path):
    root = make_imagenet(tmp_path / "imagenet", "caffe")
    (root / "val.txt").unlink()
    running_numbers(root)
    with pytest.raises(
        DataError, match=r"CLS-LOC/val\.txt: its numbers 1 to 12 count the lines.*; put LOC_val_solution"
    ):
        open_data(root)


def test_the_kit_without_its_table_beside_a_file_that_says_all(tmp_path):
    root = make_imagenet(tmp_path / "imagenet", "devkit")
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    other = make_imagenet(tmp_path / "other", "caffe")
    shutil.copy(other / "val.txt", root / "val.txt")
    source = open_data(root)
    assert [item.target for item in source.items("val")] == greys(source, "val")


def test_a_development_kit_without_or_with_a_broken_table(tmp_path):
    root = make_imagenet(tmp_path / "imagenet", "devkit")
    meta = root / "ILSVRC2012_devkit_t12/data/meta.mat"
    meta.write_bytes(b"not MATLAB's")
    with pytest.raises(DataError, match=r"meta\.mat: not the development kit's table"):
        open_data(root)
    meta.unlink()
    with pytest.raises(DataError, match=r"ground_truth\.txt: its numbers need meta\.mat"):
        open_data(root)


def test_synsets_that_train_lacks_and_pictures_outside(tmp_path):
    root = make_imagenet(tmp_path / "imagenet")
    (root / "val/n09999999").mkdir()
    shutil.copy(next(root.glob("val/*/*.JPEG")), root / "val/n09999999/x.JPEG")
    with pytest.raises(DataError, match=r"x\.JPEG: synset n09999999 is not in train"):
        open_data(root)
    shutil.move(root / "val/n09999999/x.JPEG", root / "val/x.JPEG")
    with pytest.raises(DataError, match=r"val/x\.JPEG: lies in no synset folder"):
        open_data(root)


# ---- Cityscapes ----


def ends(items):
    """File names of the pictures and masks, without their folders."""
    return [(item.picture.rpartition("/")[2], item.target.rpartition("/")[2]) for item in items]


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_masks_are_the_19_classes(tmp_path, kind):
    source = open_data(make_cityscapes(tmp_path / "cityscapes", kind=kind), task="segmentation")
    assert {split: len(items) for split, items in source.splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert source.classes[:3] == ("road", "sidewalk", "building")
    assert len(source.classes) == 19
    picture, mask = source.read(source.items("train")[0])
    assert mask.shape == (picture.height, picture.width)
    assert sorted(np.unique(mask)) == [0, 2, 10, 11, 13, 255]  # road, building, sky, person, car, the bonnet
    pixels = np.asarray(picture).astype(int)
    assert (np.abs(pixels[mask == 10] - (70, 130, 180)) <= 40).all()
    frequencies = class_frequencies(source, "train")
    assert np.flatnonzero(frequencies).tolist() == [0, 2, 10, 11, 13]


def test_the_table_of_ids_is_the_data_sets_own():
    """Ids and names of the evaluated classes, as its labels.py lists them."""
    evaluated = {
        **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light"},
        **{20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car"},
        **{27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"},
    }
    names = load_labels("cityscapes19")
    assert {label: names[index] for label, index in TRAIN_IDS.items()} == evaluated


def test_cityscapes_unpacked_into_two_folders_and_zipped(tmp_path, zip_of):
    root = make_cityscapes(tmp_path / "cityscapes")
    expected = ends(open_data(root).items("train"))
    (root / "leftImg8bit_trainvaltest").mkdir()
    (root / "gtFine_trainvaltest").mkdir()
    (root / "leftImg8bit").rename(root / "leftImg8bit_trainvaltest/leftImg8bit")
    (root / "gtFine").rename(root / "gtFine_trainvaltest/gtFine")
    for source in (open_data(root), open_data(zip_of(root))):
        assert ends(source.items("train")) == expected
        assert np.unique(source.read(source.items("val")[0])[1]).max() == 255


def test_what_cityscapes_lacks_is_named(tmp_path):
    root = make_cityscapes(tmp_path / "cityscapes")
    (root / "gtFine/train/weimar/weimar_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"weimar_000000_.*_leftImg8bit\.png: has no mask; expected .*labelIds\.png"):
        open_data(root)
    shutil.rmtree(root / "gtFine")
    with pytest.raises(DataError, match=r"has leftImg8bit/ but no gtFine/; unpack gtFine_trainvaltest\.zip"):
        open_data(root)
    with pytest.raises(DataError, match="segmentation, not classification"):
        open_data(root, task="classification")


def test_a_value_that_is_no_label_id(tmp_path):
    root = make_cityscapes(tmp_path / "cityscapes")
    Image.fromarray(np.full((32, 64), 77, np.uint8)).save(
        root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    )
    source = open_data(root)
    with pytest.raises(DataError, match=r"labelIds\.png: value 77 is no label id"):
        source.read(source.items("train")[0])


def test_extra_pictures_with_coarse_labels_are_left_alone(tmp_path):
    root = make_cityscapes(tmp_path / "cityscapes")
    (root / "leftImg8bit/train_extra/augsburg").mkdir(parents=True)
    shutil.copy(
        next(root.glob("leftImg8bit/train/aachen/*.png")),
        root / "leftImg8bit/train_extra/augsburg/augsburg_000000_000000_leftImg8bit.png",
    )
    assert len(open_data(root).items("train")) == 4
