"""Opening and reading: folder and zip alike, all formats, refusals in one line."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hswish.data import DataSource, open_data, too_many_bad
from hswish.data import stores as stores_module
from hswish.data.stores import open_store
from hswish.spec.errors import DataError, PictureError
from hswish.spec.pictures import read_picture


def pixels(source: DataSource) -> list[np.ndarray]:
    return [np.asarray(source.read_picture(item)) for items in source.splits.values() for item in items]


@pytest.mark.parametrize("top", [True, False])
def test_folder_and_zip_give_the_same(classes_folder, scenes_folder, zip_of, top):
    for root in (classes_folder({"cat": 5, "dog": 7}), scenes_folder({"train": 6})):
        folder, archive = open_data(root), open_data(zip_of(root, top))
        assert folder.splits == archive.splits
        assert folder.name == archive.name == root.name
        assert folder.made_splits == archive.made_splits
        for a, b in zip(pixels(folder), pixels(archive), strict=True):
            np.testing.assert_array_equal(a, b)
        if folder.task == "segmentation":
            item = folder.items("train")[0]
            np.testing.assert_array_equal(folder.read_mask(item), archive.read_mask(item))


def test_every_format_and_mode_reads_as_rgb(tmp_path):
    place = tmp_path / "set/cat"
    place.mkdir(parents=True)
    ramp = np.linspace(0, 255, 16 * 12).astype(np.uint8).reshape(12, 16)
    rgb = Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1))
    for suffix in ("jpg", "png", "webp", "bmp", "tiff", "gif"):
        rgb.save(place / f"rgb.{suffix}")
    rgb.convert("L").save(place / "grey.png")
    rgb.convert("P").save(place / "palette.png")
    rgb.convert("RGBA").save(place / "alpha.png")
    rgb.convert("CMYK").save(place / "cmyk.jpg")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(place / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb.save(place / "turned.jpg", exif=turned)

    source = open_data(tmp_path / "set")
    by_name = {item.picture: source.read_picture(item) for items in source.splits.values() for item in items}
    assert len(by_name) == 12
    assert all(picture.mode == "RGB" for picture in by_name.values())
    assert by_name.pop("cat/turned.jpg").size == (12, 16)
    assert all(picture.size == (16, 12) for picture in by_name.values())
    for exact in ("png", "bmp", "tiff"):
        np.testing.assert_array_equal(np.asarray(by_name[f"cat/rgb.{exact}"]), np.asarray(rgb))
    np.testing.assert_array_equal(np.asarray(by_name["cat/deep.png"])[..., 0], ramp)


def test_masks_of_palette_and_refusal_of_colour(scenes_folder):
    root = scenes_folder({"train": 2, "val": 1})
    values = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 3
    mask = Image.fromarray(values)
    mask.putpalette([255, 0, 0] * 256)
    mask.save(root / "masks/train/000.png")
    Image.new("RGB", (16, 12)).save(root / "masks/train/001.png")
    source = open_data(root)
    first, second = source.items("train")
    np.testing.assert_array_equal(source.read_mask(first), values)
    with pytest.raises(PictureError, match=r"masks/train/001\.png: .*8-bit grey"):
        source.read_mask(second)


def test_median_size_counts_headers_upright_and_skips_broken(classes_folder):
    root = classes_folder({"train/cat": 5, "val/cat": 1})
    Image.new("RGB", (100, 90)).save(root / "train/cat/000.png")
    (root / "train/cat/001.png").write_bytes(b"no picture")
    assert open_data(root).median_size() == (12, 16)


def test_sizes_in_a_folder_come_from_headers_alone(classes_folder, zip_of, monkeypatch):
    root = classes_folder({"train/cat": 2, "val/cat": 1})
    archive = open_data(zip_of(root))
    monkeypatch.setattr(stores_module.FolderStore, "read", lambda *_: pytest.fail("the whole file was read"))
    source = open_data(root)
    assert source.median_size() == archive.median_size() == (12, 16)
    item = source.items("train")[0]
    (root / item.picture).unlink()
    with pytest.raises(PictureError, match=r"train/cat/000\.png: no such file"):
        source.reader.size(item.picture)


def test_records_of_splits_come_back(classes_folder):
    root = classes_folder({"cat": 10, "dog": 10})
    first, other = open_data(root, seed=1), open_data(root, seed=2)
    assert first.splits != other.splits
    assert other.with_splits(first.split_record()).splits == first.splits
    gone = root / first.items("val")[0].picture
    gone.unlink()
    with pytest.raises(DataError, match="recorded split 'val'"):
        open_data(root).with_splits(first.split_record())


def test_unknown_split_lists_what_there_is(classes_folder):
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        open_data(classes_folder({"train/cat": 2, "val/cat": 2})).items("test")


def test_missing_paths(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder or zip; check the path"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(DataError, match="did you mean the built-in digit-scenes"):
        open_data("digit-scene")


def test_a_path_wins_over_a_built_in_name(classes_folder, monkeypatch):
    root = classes_folder({"cat": 4}, "digits")
    monkeypatch.chdir(root.parent)
    assert open_data("digits").classes == ("cat",)


def test_neither_folder_nor_zip_and_empty(tmp_path, classes_folder):
    (tmp_path / "set.tar").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=r"set\.tar: is neither a folder nor a \.zip"):
        open_data(tmp_path / "set.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures in it; expected SPLIT/CLASS"):
        open_data(tmp_path / "empty")


def test_damaged_zips(classes_folder, zip_of):
    path = zip_of(classes_folder({"cat": 4}))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"set\.zip: not a readable zip"):
        open_data(path)
    start = whole.index(b"\x89PNG") + 40
    path.write_bytes(whole[:start] + b"\0\0\0\0" + whole[start + 4 :])  # the checksum of one entry no longer fits
    source = open_data(path)
    failures = []
    for items in source.splits.values():
        for item in items:
            try:
                source.read_picture(item)
            except PictureError as error:
                failures.append(str(error))
    assert len(failures) == 1
    assert "set.zip/set/cat/" in failures[0]


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png"])
def test_zip_that_points_outside_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(DataError, match=r"refused.*outside"):
        open_data(tmp_path / "bad.zip")


def test_zip_with_links_or_a_password_is_refused(tmp_path):
    link = zipfile.ZipInfo("cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"refused.*symbolic link"):
        open_data(tmp_path / "link.zip")

    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("cat/a.png", b"x")
    raw = bytearray((tmp_path / "locked.zip").read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # flag bit 0 in the central directory: encrypted
    (tmp_path / "locked.zip").write_bytes(raw)
    with pytest.raises(DataError, match="is encrypted; zip the folder without a password"):
        open_data(tmp_path / "locked.zip")


def test_entry_that_claims_to_be_huge_is_not_unpacked(classes_folder, zip_of):
    path = zip_of(classes_folder({"cat": 1}))
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"000.png"))
    raw[entry + 24 : entry + 28] = struct.pack("<I", (1 << 30) + 1)
    path.write_bytes(raw)
    source = open_data(path)
    with pytest.raises(PictureError, match="no picture is that large"):
        source.read_picture(source.items("train")[0])


@pytest.mark.parametrize("emptied", ["images", "masks"])
def test_a_recorded_picture_that_is_empty_by_now_keeps_its_place(scenes_folder, classes_folder, emptied):
    """As one that is damaged does: it is read in its turn, and then skipped and listed."""
    scenes, pictures = scenes_folder({"train": 30, "val": 4}), classes_folder({"cat": 12, "dog": 12})
    for root in (scenes, pictures):
        record = open_data(root).split_record()
        name = record["train"][3]
        file = root / name if root == pictures else root / name.replace("images", emptied)
        file = file if file.exists() else file.with_suffix(".png")
        file.write_bytes(b"")
        assert name not in open_data(root).split_record()["train"]
        resumed = open_data(root).with_splits(record)
        assert resumed.split_record() == record
        with pytest.raises(PictureError) as caught:
            resumed.read(resumed.items("train")[3])
        assert (caught.value.name, caught.value.reason) == (str(file), "the file is empty")
        assert resumed.skipped == ((str(file), "the file is empty"),)


def test_empty_files_are_listed_and_skipped_and_too_many_refused(classes_folder, zip_of):
    root = classes_folder({"train/cat": 20, "val/cat": 2})
    (root / "train/cat/003.png").write_bytes(b"")
    for path in (root, zip_of(root)):
        source = open_data(path)
        assert [reason for _, reason in source.skipped] == ["the file is empty"]
        assert source.skipped[0][0].endswith("train/cat/003.png")
        assert len(source.items("train")) == 19
    for number in range(4, 8):
        (root / f"train/cat/{number:03d}.png").write_bytes(b"")
    with pytest.raises(DataError, match="5 of 22 files cannot be used, more than 10%"):
        open_data(root)


def test_too_many_bad_counts_a_file_once():
    too_many_bad({"a.png": "damaged"}, 10)
    with pytest.raises(DataError, match=r"2 of 10 .*first a\.png: damaged"):
        too_many_bad({"a.png": "damaged", "b.png": "damaged"}, 10)


def test_broken_link_and_folder_loop(classes_folder):
    root = classes_folder({"train/cat": 20, "val/cat": 2})
    (root / "train/cat/gone.png").symlink_to(root / "nowhere.png")
    (root / "train/cat/loop").symlink_to(root)
    source = open_data(root)
    assert len(source.items("train")) == 20
    assert source.skipped[0][0].endswith("gone.png")


def test_links_within_the_data_set_lead_to_the_pictures_again(classes_folder):
    root = classes_folder({"train/cat": 20, "train/dog": 20})
    (root / "val").symlink_to("train")
    (root / "test").mkdir()
    for name in ("cat", "dog"):
        (root / "test" / name).symlink_to(root / "train" / name)
    assert {split: len(items) for split, items in open_data(root).splits.items()} == {
        "train": 40,
        "val": 40,
        "test": 40,
    }


def test_names_in_a_zip_that_other_tools_write(classes_folder, tmp_path):
    root = classes_folder({"cat": 20, "dog": 20})
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        for file in sorted(root.rglob("*.png")):
            name = file.relative_to(root).as_posix().replace("dog", "Film: part 2")
            archive.write(file, f"./{name}")
    source = open_data(tmp_path / "odd.zip")
    assert source.classes == ("Film: part 2", "cat")
    assert len(pixels(source)) == 40


def test_a_damaged_entry_is_skipped_however_it_was_packed(classes_folder, tmp_path):
    root = classes_folder({"cat": 2})
    for packing in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        path = tmp_path / f"{packing}.zip"
        with zipfile.ZipFile(path, "w", packing) as archive:
            for file in sorted(root.rglob("*.png")):
                archive.writestr(file.relative_to(root).as_posix(), file.read_bytes() + bytes(range(256)) * 20)
            at = archive.infolist()[0].header_offset + 60
        raw = bytearray(path.read_bytes())
        raw[at : at + 20] = b"\xff" * 20
        path.write_bytes(raw)
        store = open_store(path)
        with pytest.raises(PictureError, match=r"\.zip/cat/.*cannot be unpacked"):
            store.read(min(store.files))


def test_zip_reads_alike_from_threads_a_fork_and_a_pickle(classes_folder, zip_of):
    source = open_data(zip_of(classes_folder({"cat": 40})))
    expected = pixels(source)
    items = [item for items in source.splits.values() for item in items]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda item: np.asarray(source.read_picture(item)), items * 5))
    for got, want in zip(threaded, expected * 5, strict=True):
        np.testing.assert_array_equal(got, want)
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(pixels(copied)[-1], expected[-1])

    child = os.fork()
    if child == 0:  # both processes read at once; a shared file position would mix them up
        same = all(np.array_equal(a, b) for _ in range(5) for a, b in zip(pixels(source), expected, strict=True))
        os._exit(0 if same else 1)
    for _ in range(5):
        for a, b in zip(pixels(source), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert os.waitpid(child, 0)[1] == 0


def test_file_that_vanishes_is_named(classes_folder):
    root = classes_folder({"train/cat": 2, "val/cat": 1})
    source = open_data(root)
    item = source.items("train")[0]
    (root / item.picture).unlink()
    with pytest.raises(PictureError, match=r"train/cat/000\.png: not readable .*still there"):
        source.read_picture(item)


def test_limit_of_a_folder_file(classes_folder, monkeypatch):
    source = open_data(classes_folder({"train/cat": 2, "val/cat": 1}))
    monkeypatch.setattr(stores_module, "MAX_FILE_BYTES", 10)
    with pytest.raises(PictureError, match="no picture is that large"):
        source.read_picture(source.items("train")[0])


def test_reads_what_prediction_reads(classes_folder):
    root = classes_folder({"train/cat": 1, "val/cat": 1})
    source = open_data(root)
    item = source.items("train")[0]
    np.testing.assert_array_equal(source.read_picture(item), read_picture(root / item.picture))
