"""Published names, the hub and the web at the command line: every command that takes a model takes them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hswish
from hswish.hub import weights as table
from hswish.hub.weights import WEIGHTS, find
from hswish.hub.zoo import zoo_files
from hswish.models.adapters import export_file

from ..servers.hub import TOKEN, Hub
from ..servers.web import Resource, Web
from .conftest import command, environment

Cli = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def on_hub(hub: Hub, logged_in: None, classifier: Path, hswish_cli: Cli) -> str:
    hswish_cli("push", classifier, "hf://me/pets").success()
    return "hf://me/pets"


# --- hswish models ---------------------------------------------------------------------------


def test_models_lists_all_weights(hswish_cli: Cli) -> None:
    out = hswish_cli("models").success().out
    for row in WEIGHTS:
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [row.name]]
        for value in row.metrics.values():
            assert f"{value:.4f}" in line
        assert f"{row.parameters:,}" in line
        assert row.licence in line
        assert " MB" in line
    assert "21.1 MB" in out
    assert "~21.9 MB" in out  # where the publisher does not say


def test_models_as_json(hswish_cli: Cli) -> None:
    models = json.loads(hswish_cli("models", "--json").success().out)
    assert [model["name"] for model in models] == hswish.list_models()
    weights = {about["name"]: about for model in models for about in model["weights"]}
    assert weights.keys() == {row.name for row in WEIGHTS} | {file.stem for file in zoo_files()}
    about = weights["mobilenet_v3_large.tv_in1k_v2"]
    assert about["metrics"] == {"top1": 0.75274, "top5": 0.92566}
    assert (about["size_mb"], about["size_stated"], about["licence"]) == (21.107, True, "BSD-3-Clause")
    assert about["checksum"] == "sha256:5c1a4163"
    assert about["preprocess"]["crop_fraction"] == pytest.approx(224 / 232)


def test_models_lists_the_projects_own(
    hswish_cli: Cli, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hswish.hub.zoo.zoo_folder", lambda: tmp_path)
    path = tmp_path / "lraspp_mobilenet_v3_small.roads.safetensors"
    path.write_bytes(segmenter.read_bytes())
    (line,) = [line for line in hswish_cli("models").success().out.splitlines() if path.stem in line]
    assert f"{path.stat().st_size / 1e6:.1f} MB" in line
    assert json.loads(hswish_cli("info", path.stem, "--json").success().out)["classes"] == ["sky", "road", "car"]


# --- Every command -----------------------------------------------------------------------------


def test_predict_eval_info_train(on_hub: str, hswish_cli: Cli, pictures: Path) -> None:
    assert hswish_cli("predict", on_hub, pictures / "cat" / "00.png").success().out.split()[1] in ("cat", "dog")
    assert "top1" in json.loads(hswish_cli("eval", on_hub, pictures, "--json").success().out)
    assert json.loads(hswish_cli("info", on_hub, "--json").success().out)["classes"] == ["cat", "dog"]
    quick = ("--epochs", 1, "--size", 32, "--workers", 0, "--batch-size", 4)
    run = hswish_cli("train", pictures, "--model", "mobilenet_v3_small", "--weights", on_hub, "--out", "run", *quick)
    assert "started from hf://me/pets, all weights" in run.success().err


def test_fine_tuning_takes_the_networks_options(hswish_cli: Cli, web: Web, pictures: Path) -> None:
    """Width, padding and epsilon are the weights'; only the classes are new."""
    model = hswish.create_model("mobilenet_v3_small", num_classes=5, width_mult=0.25, padding="same", bn_eps=1e-5)
    hswish.save(model, "start.safetensors")
    web.files["/start.safetensors"] = Resource(Path("start.safetensors").read_bytes())
    quick = ("--epochs", 1, "--size", 32, "--workers", 0, "--batch-size", 4)
    address = web.url("/start.safetensors")
    hswish_cli(
        "train", pictures, "--model", "mobilenet_v3_small", "--weights", address, "--out", "run", *quick
    ).success()
    options = hswish.load("run/best.safetensors").architecture.options
    assert (options.width_mult, options.padding, options.bn_eps, options.num_classes) == (0.25, "same", 1e-5, 2)


def test_a_published_name(hswish_cli: Cli, web: Web, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    export_file(hswish.create_model("mobilenet_v3_small", width_rule="torchvision"), "torchvision", "small.pth")
    content = Path("small.pth").read_bytes()
    web.files["/small.pth"] = Resource(content)
    here = replace(row, url=web.url("/small.pth"), checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")
    monkeypatch.setitem(table._BY_NAME, row.name, here)
    out = hswish_cli("predict", row.name, pictures / "cat" / "00.png", "--top", 5).success().out
    assert len(out.split("  ")) == 6
    about = json.loads(hswish_cli("info", row.name, "--json").success().out)
    assert about["metrics"] == {"val": row.metrics}
    quick = ("--epochs", 1, "--size", 32, "--workers", 0, "--batch-size", 4)
    run = hswish_cli("train", pictures, "--model", "mobilenet_v3_small", "--weights", row.name, "--out", "run", *quick)
    assert f"started from {row.name}; new classes" in run.success().err


# --- hswish push -------------------------------------------------------------------------------


@pytest.mark.usefixtures("logged_in")
def test_push(hub: Hub, hswish_cli: Cli, classifier: Path) -> None:
    out = hswish_cli("push", classifier, "hf://me/pets", "--private", "--message", "First").success().out
    assert f"pushed to {hub.url}/me/pets" in out
    repo = hub.repos["me/pets"]
    assert repo.private
    assert repo.messages[-1] == "First"
    pushed = json.loads(hswish_cli("push", classifier, "hf://me/pets", "--json").success().out)
    assert (pushed["repo"], pushed["card"]) == ("me/pets", "written")
    repo.commit({"README.md": b"mine"})
    assert "stays as it is" in hswish_cli("push", classifier, "hf://me/pets").success().err


# --- In one line, exit status 2 ----------------------------------------------------------------


def test_errors(hub: Hub, web: Web, hswish_cli: Cli, classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hswish_cli("predict", "hf://me/nothing", "a.jpg").error("hf://me/nothing", "no such repository")
    hswish_cli("predict", web.url("/a.safetensors"), "a.jpg").error(web.url("/a.safetensors"), "404")
    hswish_cli("eval", "mobilenet_v3_large.tv_in1k", "pictures").error("did you mean")
    hswish_cli("info", "mobilenet_v3_large.tv_in1k").error("did you mean")
    hswish_cli("push", classifier, "hf://me/pets").error("log in")
    hswish_cli("push", classifier, "me/pets").error("write hf://OWNER/NAME")
    hswish_cli("train", "digits", "-m", "mobilenet_v3_small", "--weights", "hf://a/b").error("no such repository")
    monkeypatch.setenv("HSWISH_OFFLINE", "1")
    hswish_cli("predict", "mobilenet_v3_large.tv_in1k_v2", "a.jpg").error("HSWISH_OFFLINE", "downloads/torchvision")


def test_a_download_that_breaks(web: Web, hswish_cli: Cli, classifier: Path, home: Path) -> None:
    web.files["/m.safetensors"] = Resource(classifier.read_bytes(), cuts=[2**16] + [0] * 5)
    hswish_cli("info", web.url("/m.safetensors")).error("run again to resume")
    assert len(list(home.rglob("*.part"))) == 1
    hswish_cli("info", web.url("/m.safetensors")).success()
    assert not list(home.rglob("*.part"))


def test_as_a_process_of_its_own(hub: Hub, classifier: Path, tmp_path: Path) -> None:
    """Only what a user sets: HF_ENDPOINT, HF_TOKEN, HF_HOME, HSWISH_HOME."""
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HSWISH_HOME": str(tmp_path / "hswish"),
    }

    def run(*arguments: Any) -> str:
        done = subprocess.run(
            command(*arguments), env=environment() | settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "\r" not in done.stderr
        assert not done.stderr.strip(), "progress is for terminals, and nothing else is said"
        return done.stdout

    run("push", classifier, "hf://me/pets")
    assert "cat" in run("info", "hf://me/pets", "--json")
    assert (tmp_path / "hf" / "hub" / "models--me--pets").is_dir()
