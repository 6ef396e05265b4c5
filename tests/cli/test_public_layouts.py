"""ImageNet and Cityscapes in their own layouts, trained on, measured, and sharded as any folder is."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from tests.cli.conftest import QUICK, zipped
from tests.standins import make_cityscapes, make_imagenet


def test_imagenet_as_kaggle_gives_it(hswish_cli, tmp_path):
    data = make_imagenet(tmp_path / "imagenet", "kaggle", count=4)
    hswish_cli("train", data, "-m", "mobilenet_v3_small", "-o", tmp_path / "run", *QUICK).success()
    model = tmp_path / "run/best.safetensors"
    for place in (data, zipped(data)):
        found = json.loads(hswish_cli("eval", model, place, "--json", "--workers", 0).success().out)
        assert found["count"] == 16
        assert list(found["per_class"]) == ["tench", "crane (n02012849)", "Chihuahua", "crane (n03126707)"]
    hswish_cli("eval", model, data, "--split", "test").error("has no split 'test'")


def test_cityscapes_from_its_folders_and_from_shards(hswish_cli, tmp_path):
    data = make_cityscapes(tmp_path / "cityscapes", count=3)
    hswish_cli("shard", data, "-o", tmp_path / "shards", "--size", 0.02).success()
    run = ("-m", "lraspp_mobilenet_v3_small", "-o", tmp_path / "run", *QUICK)
    hswish_cli("train", data, *run).success()
    model = tmp_path / "run/best.safetensors"
    scores = [
        json.loads(hswish_cli("eval", model, place, "--json", "--workers", 0).success().out)
        for place in (data, tmp_path / "shards")
    ]
    assert scores[0]["confusion"] == scores[1]["confusion"]
    assert len(scores[0]["per_class"]) == 19
    labelled = sum(map(sum, scores[0]["confusion"]))
    assert labelled == 3 * 32 * 64 - 3 * 3 * 64  # all but the bonnets
    hswish_cli("eval", model, data, "--split", "test").error("labelled")
    hswish_cli("predict", model, data / "leftImg8bit/val", "--out", tmp_path / "drawn").success()


def test_a_wrong_label_id_ends_with_its_file(hswish_cli, tmp_path):
    data = make_cityscapes(tmp_path / "cityscapes")
    mask = "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_labelIds.png"
    Image.fromarray(np.full((32, 64), 40, np.uint8)).save(data / mask)
    hswish_cli("train", data, "-m", "lraspp_mobilenet_v3_small", *QUICK).error(mask, "value 40 is no label id")
