"""timm's checkpoints: its own answers, exact round trips, the hub's and its training script's files."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from hswish.models import create_model
from hswish.models.adapters import convert, export_file, export_state
from hswish.models.adapters.registry import get_adapter
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.preprocess import Preprocess
from tests.models.adapters.checks import (
    check_answers,
    check_identical,
    check_published,
    check_round_trip,
    every_golden,
    foreign_weights,
    golden_of,
    published_sources,
)
from tests.models.adapters.golden import Golden
from tests.models.adapters.published import Published, load_published

SMALL = "timm-mobilenetv3_small_100-96x96"
TF_SMALL = "timm-tf_mobilenetv3_small_075-96x96"
PUBLISHED = load_published("timm")


def write(found: Golden, folder: Path) -> Path:
    """The golden's weights as the hub keeps timm's."""
    path = folder / "model.safetensors"
    safetensors.torch.save_file(foreign_weights(found), path, metadata={"format": "pt"})
    return path


@every_golden("timm")
def test_answers_and_round_trip(golden: Golden, tmp_path: Path) -> None:
    model = convert(f"timm:{golden.network}", write(golden, tmp_path))
    check_answers(model, golden)
    check_round_trip(model, "timm", foreign_weights(golden))


def test_padding_and_epsilon_are_the_networks() -> None:
    """What no tensor shows: tf_ networks have TensorFlow's padding and epsilon, the others torch's."""
    for network in get_adapter("timm").networks:
        options = create_model(network.model, **network.options).architecture.options  # type: ignore[union-attr]
        tf = network.name.startswith("tf_")
        assert options.padding == ("same" if tf else "symmetric")
        assert options.bn_eps == (1e-3 if tf or network.name == "mobilenetv3_rw" else 1e-5)
        assert options.bn_momentum == 0.1


def test_what_the_tensors_cannot_tell_is_asked_for(tmp_path: Path) -> None:
    path = write(golden_of(TF_SMALL), tmp_path)
    with pytest.raises(ModelFileError, match="timm:mobilenetv3_small_075 or timm:tf_mobilenetv3_small_075"):
        convert("timm", path)


@pytest.mark.parametrize("name", ["timm-mobilenetv3_small_050-96x96", "timm-mobilenetv3_rw-75x101"])
def test_what_the_tensors_tell_is_found(name: str, tmp_path: Path) -> None:
    found = golden_of(name)
    model = convert("timm", write(found, tmp_path))
    assert model.description.provenance["converted_from"]["network"] == found.network


def test_grey_pictures(tmp_path: Path) -> None:
    """`in_chans=1` is read from the stem."""
    network = get_adapter("timm").network("mobilenetv3_small_075")
    model = create_model(network.model, **network.options, in_channels=1, num_classes=3)
    export_file(model, "timm", tmp_path / "grey.pth")
    back = convert("timm:mobilenetv3_small_075", tmp_path / "grey.pth")
    assert back.architecture.options.in_channels == 1
    assert (back.preprocess.channels, back.preprocess.interpolation) == ("L", "bicubic")
    check_identical(back.state_dict(), model.state_dict())


# --- Preprocessing and class names ---------------------------------------------------------


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.source)
def test_published_weights(entry: Published) -> None:
    check_published(entry)


def test_all_published_weights_are_known() -> None:
    assert published_sources("timm") == sorted(entry.source for entry in PUBLISHED)


def config(folder: Path, **changes: Any) -> None:
    """The `config.json` of a hub repository."""
    content = {
        "architecture": "tf_mobilenetv3_small_075",
        "num_classes": 10,
        "pretrained_cfg": {
            "tag": "in1k",
            "input_size": [3, 192, 160],
            "interpolation": "bicubic",
            "crop_pct": 0.95,
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
        },
    }
    (folder / "config.json").write_text(json.dumps({**content, **changes}))


def test_the_hubs_config_is_believed(tmp_path: Path) -> None:
    """It tells a tf_ network from a plain one, and how pictures are prepared."""
    found = golden_of(TF_SMALL)
    path = write(found, tmp_path)
    config(tmp_path, label_names=[f"kind {index}" for index in range(10)])
    model = convert("timm", path)
    check_answers(model, found)
    assert model.classes[3] == "kind 3"
    assert model.preprocess == Preprocess(
        height=192,
        width=160,
        resize="crop",
        crop_fraction=192 / 202,  # floor(192 / 0.95)
        interpolation="bicubic",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    with pytest.raises(ModelFileError, match="is timm:tf_mobilenetv3_small_075 by its own account"):
        convert("timm:mobilenetv3_small_075", path)


@pytest.mark.parametrize(
    "changes",
    [
        {"pretrained_cfg": {"crop_pct": 0}},
        {"pretrained_cfg": {"crop_pct": "much", "input_size": 7}},
        {"pretrained_cfg": {"mean": [1], "std": [0, 0, 0]}},
        {"pretrained_cfg": {"input_size": [3, 10**9, 10**9]}},
        {"pretrained_cfg": [1, 2], "label_names": "cat"},
        {"label_names": ["one", "two"], "pretrained_cfg": {"interpolation": "random"}},
    ],
)
def test_odd_configs_are_passed_over(changes: dict[str, Any], tmp_path: Path) -> None:
    path = write(golden_of(TF_SMALL), tmp_path)
    config(tmp_path, **changes)
    model = convert("timm", path)
    assert model.preprocess == get_adapter("timm").network("tf_mobilenetv3_small_075").preprocess
    assert model.classes == tuple(str(index) for index in range(10))


@pytest.mark.parametrize("text", ["{", "[1]", '{"architecture": 3}', '{"architectures": ["ViT"]}', "[" * 10000])
def test_a_config_of_somebody_else_is_passed_over(text: str, tmp_path: Path) -> None:
    found = golden_of("timm-mobilenetv3_small_050-96x96")
    path = write(found, tmp_path)
    (tmp_path / "config.json").write_text(text)
    check_answers(convert("timm", path), found)


def test_a_published_file_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its SHA-256: plain `timm` then needs no name, and a wrong name is refused."""
    path = write(golden_of(TF_SMALL), tmp_path)
    with pytest.raises(ModelFileError):
        convert("timm", path)
    adapter = get_adapter("timm")
    plain = adapter.read(path)
    named = adapter.network("tf_mobilenetv3_small_075")
    known = replace(named, weights=(replace(named.weights[0], sha256=plain.sha256[:8]),))
    networks = tuple(known if network is named else network for network in adapter.networks)
    monkeypatch.setattr("hswish.models.adapters.timm.NETWORKS", networks)
    assert convert("timm", path).description.provenance["converted_from"]["weights"] == "in1k"
    with pytest.raises(ModelFileError, match="is timm:tf_mobilenetv3_small_075 by its own account"):
        convert("timm:mobilenetv3_small_075", path)


# --- Files of the training script ----------------------------------------------------------


def test_the_training_scripts_file(tmp_path: Path) -> None:
    """`arch` names the network, `state_dict_ema` is preferred, torch.compile's prefix goes."""
    found = golden_of(TF_SMALL)
    state = foreign_weights(found)
    last = {f"_orig_mod.{name}": torch.zeros_like(tensor) for name, tensor in state.items()}
    path = tmp_path / "model_best.pth.tar"
    torch.save(
        {
            "epoch": 3,
            "arch": "timm/tf_mobilenetv3_small_075.in1k",
            "state_dict": last,
            "state_dict_ema": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
            "optimizer": {"state": {}, "param_groups": []},
            "args": argparse.Namespace(img_size=128, crop_pct=None, mean=None, std=None, interpolation="bicubic"),
            "metric": 71.5,
            "version": 2,
        },
        path,
    )
    model = convert("timm", path)
    check_answers(model, found)
    assert (model.preprocess.height, model.preprocess.width, model.preprocess.interpolation) == (128, 128, "bicubic")
    zeros = convert("timm", path, ema=False)
    assert not zeros.state_dict()["head.classifier.weight"].any()


# --- Back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".bin"])
def test_files_written_back(ending: str, tmp_path: Path) -> None:
    found = golden_of(SMALL)
    model = convert("timm:mobilenetv3_small_100", write(found, tmp_path))
    path = tmp_path / f"back{ending}"
    assert export_file(model, "timm", path) == "mobilenetv3_small_100"
    if ending == ".safetensors":
        check_identical(
            dict(sorted(safetensors.torch.load_file(path).items())), dict(sorted(foreign_weights(found).items()))
        )
    else:
        check_identical(torch.load(path, weights_only=True), foreign_weights(found))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("mobilenet_v3_small", {}, "bn_eps 1e-05, not 0.001"),
        ("mobilenet_v3_small", {"bn_eps": 1e-5, "width_mult": 0.35}, "width_mult"),
        ("mobilenet_v3_large_minimal", {}, "tf_mobilenetv3_large_minimal_100 has padding same, not symmetric"),
        ("lraspp_mobilenet_v3_large", {}, "timm has no lraspp_mobilenet_v3_large"),
    ],
)
def test_what_timm_cannot_express_is_refused(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        export_state(create_model(name, **changes), "timm")
