"""`hswish shard`, and training and measuring on what it makes, from the folder and from the web."""

from __future__ import annotations

import json
import os
import shlex
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hswish.spec.errors import DataError
from hswish.train import Interrupted, Reporter, train
from tests.cli.conftest import QUICK, make_pictures, make_scenes
from tests.servers.web import FolderWeb

pytestmark = pytest.mark.usefixtures("home")


def test_shards_train_and_are_measured_like_the_folder(hswish_cli, tmp_path):
    data = make_pictures(tmp_path / "pictures", splits=("train", "val"))
    done = hswish_cli("shard", data, "-o", tmp_path / "shards", "--size", 0.02, "--json").success()
    made = json.loads(done.out)
    assert made["splits"]["train"]["pictures"] == 12
    assert made["splits"]["train"]["shards"] > 1
    hswish_cli("train", tmp_path / "shards", "-m", "mobilenet_v3_small", "-o", tmp_path / "run", *QUICK).success()
    model = tmp_path / "run/best.safetensors"
    with FolderWeb(tmp_path / "shards") as web:
        scores = [
            json.loads(hswish_cli("eval", model, place, "--json", "--workers", 0).success().out)
            for place in (data, tmp_path / "shards", web.url())
        ]
    assert scores[0]["count"] == 12
    for other in scores[1:]:
        assert other["confusion"] == scores[0]["confusion"]
        assert other["top5"] == scores[0]["top5"]


def test_shards_are_not_written_into_the_data(hswish_cli, tmp_path):
    data = make_pictures(tmp_path / "pictures", splits=("train", "val"))
    for out in (data / "shards", data):
        hswish_cli("shard", data, "-o", out).error("lies inside the data", "choose another folder by --out")
    assert sorted(path.name for path in data.iterdir()) == ["train", "val"]
    hswish_cli("shard", data, "-o", tmp_path / "pictures-shards").success()


def test_the_next_command_can_be_copied_into_a_shell(hswish_cli, tmp_path):
    data, out = make_pictures(tmp_path / "pictures"), tmp_path / "my shards"
    last = hswish_cli("shard", data, "-o", out).success().out.splitlines()[-1]
    assert shlex.split(last) == ["next:", "hswish", "train", str(out), "--model", "NAME"]


class InterruptAt(Reporter):
    """A user who presses Ctrl-C during one step."""

    def __init__(self, step):
        self.left = step

    def step(self, pictures, loss, lr):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_on_shards_from_the_web_ends_as_one_on_the_folder_that_was_not_interrupted(hswish_cli, tmp_path):
    make_scenes(tmp_path / "scenes", splits=("train", "val"))
    hswish_cli("shard", tmp_path / "scenes", "-o", tmp_path / "shards", "--size", 0.01).success()
    flags = ["-m", "lraspp_mobilenet_v3_small", "--size", 32, "--width-mult", 0.25, "--workers", 0, "--batch-size", 2]
    hswish_cli("train", tmp_path / "shards", "-o", tmp_path / "whole", *flags, "--epochs", 2).success()
    with FolderWeb(tmp_path / "shards") as web:
        changes = {"epochs": 2, "batch_size": 2, "height": 32}
        with pytest.raises(Interrupted, match="epoch 2, step 1 of 3"):
            train(
                web.url(), "lraspp_mobilenet_v3_small", out=tmp_path / "run", changes=changes, workers=0,
                width_mult=0.25, reporter=InterruptAt(4),
            )  # fmt: skip
        hswish_cli("train", "--resume", tmp_path / "run", "--workers", 1).success()
    whole, run = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[name], run[name]) for name in whole)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "run")
    ]
    assert losses[0] == losses[1]


class Once(Reporter):
    """Does something at the first step."""

    def __init__(self, action):
        self.action = action

    def step(self, pictures, loss, lr):
        action, self.action = self.action, lambda: None
        action()


def test_a_server_that_goes_away_costs_nothing(hswish_cli, tmp_path):
    """The run ends with the command that goes on, and goes on where the server is back."""
    make_pictures(tmp_path / "pictures", count=12, splits=("train", "val"))
    hswish_cli("shard", tmp_path / "pictures", "-o", tmp_path / "shards", "--size", 0.001).success()
    changes = {"epochs": 1, "batch_size": 2, "height": 32}
    web = FolderWeb(tmp_path / "shards")
    with pytest.raises(DataError) as caught:
        train(
            web.url(), "mobilenet_v3_small", out=tmp_path / "run", changes=changes, workers=0,
            width_mult=0.25, reporter=Once(web.close),
        )  # fmt: skip
    assert "cannot be reached" in str(caught.value)
    assert str(caught.value).endswith(f"go on with: hswish train --resume {tmp_path / 'run'}")
    config = json.loads((tmp_path / "run/config.json").read_text())
    with FolderWeb(tmp_path / "shards") as web:
        (tmp_path / "run/config.json").write_text(json.dumps({**config, "data": web.url()}))
        hswish_cli("train", "--resume", tmp_path / "run", "--workers", 0).success()


def test_what_cannot_be_done_is_said(hswish_cli, pictures, tmp_path):
    hswish_cli("shard", pictures, "-o", tmp_path / "shards").success()
    hswish_cli("shard", pictures, "-o", tmp_path / "shards").error("already holds shards")
    hswish_cli("shard", tmp_path / "nothing", "-o", tmp_path / "x").error("no such folder")
    hswish_cli("shard", pictures, "-o", tmp_path / "x", "--size", 0).error("--size")
    hswish_cli("train", "http://127.0.0.1:1/", "-m", "mobilenet_v3_small", *QUICK).error(
        "127.0.0.1:1", "cannot be reached"
    )
    (tmp_path / "shards/train/000000.tar").unlink()
    hswish_cli("train", tmp_path / "shards", "-m", "mobilenet_v3_small", *QUICK).error("000000.tar", "is not there")


def test_bad_pictures_are_listed(hswish_cli, pictures, tmp_path):
    make_pictures(pictures, count=12)
    (pictures / "cat/00.png").write_bytes(b"no picture")
    done = hswish_cli("shard", pictures, "-o", tmp_path / "shards").success()
    assert len(done.warnings) == 1
    assert "cat/00.png" in done.warnings[0]
    Image.open(pictures / "cat/01.png").load()
