"""fastseg: the same masks as its own code, and strict about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hswish.models import create_model
from hswish.models.adapters import convert, export_file, export_state
from hswish.spec.budget import count_parameters
from hswish.spec.errors import ModelFileError, OptionError
from tests.models.adapters.checks import (
    check_answers,
    check_round_trip,
    every_golden,
    foreign_weights,
    golden_of,
    one_line,
)
from tests.models.adapters.golden import Golden

SMALL = "fastseg-small_f64-392x392"


def write(path: Path, weights: dict[str, torch.Tensor], classes: int = 19) -> None:
    """A checkpoint as fastseg's training leaves it."""
    state = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"num_classes": classes, "state_dict": state}, path)


@every_golden("fastseg")
def test_answers_and_round_trip(golden: Golden, tmp_path: Path) -> None:
    path, weights = tmp_path / "checkpoint.pt", foreign_weights(golden)
    write(path, weights, golden.arguments["num_classes"])
    model = convert("fastseg", path)
    assert model.description.provenance["converted_from"]["network"] == golden.network
    assert model.architecture.options.head_channels == golden.arguments["num_filters"]
    check_answers(model, golden)
    check_round_trip(model, "fastseg", weights)


@pytest.mark.parametrize(
    "change",
    [
        {"padding": "symmetric"},
        {"atrous_rule": "tensorflow"},
        {"output_stride": 16},
        {"bn_eps": 1e-5},
    ],
    ids=str,
)
def test_the_golden_tells_readings_apart(change: dict[str, Any], tmp_path: Path) -> None:
    golden = golden_of("fastseg-small_f64-520x552")
    write(tmp_path / "checkpoint.pt", foreign_weights(golden))
    model = convert("fastseg", tmp_path / "checkpoint.pt")
    other = create_model(model.architecture.name, **{**model.architecture.options_dict(), **change})
    other.load_state_dict(model.state_dict())
    with pytest.raises(AssertionError):
        check_answers(other.eval(), golden)


def test_a_file_is_what_from_pretrained_takes(tmp_path: Path) -> None:
    """`checkpoint["num_classes"]`, and only names that begin with `module.`."""
    golden = golden_of(SMALL)
    weights = foreign_weights(golden)
    torch.save(weights, tmp_path / "in.pth")  # a plain state dict is read too
    model = convert("fastseg:MobileV3Small", tmp_path / "in.pth", head_channels=64)
    assert export_file(model, "fastseg", tmp_path / "out.pt") == "MobileV3Small"
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    assert content.keys() == {"num_classes", "state_dict"}
    assert content["num_classes"] == 19
    assert list(content["state_dict"]) == [f"module.{name}" for name in weights]
    assert all(torch.equal(content["state_dict"][f"module.{name}"], weights[name]) for name in weights)
    check_round_trip(convert("fastseg", tmp_path / "out.pt"), "fastseg", weights)
    with pytest.raises(OptionError, match=r"ends in \.pt or \.pth"):
        export_file(model, "fastseg", tmp_path / "out.safetensors")


def test_a_small_picture_is_no_error_here(tmp_path: Path) -> None:
    """fastseg's window of 49 cells fails below 392 pixels; here it is cut to the map."""
    write(tmp_path / "checkpoint.pt", foreign_weights(golden_of(SMALL)))
    with torch.inference_mode():
        assert convert("fastseg", tmp_path / "checkpoint.pt")(torch.randn(1, 3, 65, 97)).shape == (1, 19, 65, 97)


def test_preprocessing_and_class_names_come_along(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint.pt", foreign_weights(golden_of(SMALL)))
    model = convert("fastseg", tmp_path / "checkpoint.pt")
    assert model.preprocess.output_size(1024, 2048) == (1024, 2048)
    assert (model.preprocess.mean[0], model.preprocess.std[0]) == (0.485, 0.229)
    assert (model.classes[0], model.classes[-1]) == ("road", "bicycle")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("last.bias"), "1 tensor missing ('last.bias')"),
        (lambda w: w.update({"trunk.conv_head.weight": torch.zeros(1)}), "left over ('trunk.conv_head.weight')"),
        (lambda w: w.update({"convs2.weight": torch.zeros(8, 16, 1, 1)}), "'convs2.weight' is (8, 16, 1, 1), not"),
    ],
)
def test_every_tensor_must_fit(change: Any, words: str, tmp_path: Path) -> None:
    path, weights = tmp_path / "checkpoint.pt", foreign_weights(golden_of(SMALL))
    change(weights)
    write(path, weights)
    with pytest.raises(ModelFileError) as error:
        convert("fastseg:MobileV3Small", path)
    assert words in one_line(error, path)


def test_the_dilated_pyramid_is_refused(tmp_path: Path) -> None:
    path, weights = tmp_path / "checkpoint.pt", foreign_weights(golden_of(SMALL))
    write(path, {**weights, "aspp_conv3.0.weight": torch.zeros(64, 576, 1, 1)})
    with pytest.raises(ModelFileError) as error:
        convert("fastseg", path)
    assert "use_aspp=True" in one_line(error, path)


def test_what_it_cannot_express_is_refused() -> None:
    export_state(create_model("lraspp_mobilenet_v3_small", head="fastseg"), "fastseg")
    for options, words in (
        ({}, "head fastseg, not lraspp"),
        ({"head": "fastseg", "width_mult": 0.75}, "width_mult 1.0, not 0.75"),
        ({"head": "fastseg", "output_stride": 16}, "output_stride 8, not 16"),
    ):
        with pytest.raises(OptionError, match=words):
            export_state(create_model("lraspp_mobilenet_v3_small", **options), "fastseg")
    with pytest.raises(OptionError, match="fastseg has no mobilenet_v3_small"):
        export_state(create_model("mobilenet_v3_small"), "fastseg")


@pytest.mark.parametrize(
    ("golden", "millions"), [("large_f256-395x557", 3.69), ("large_f128-392x552", 3.28), ("small_f128-523x557", 1.14)]
)
def test_published_counts(golden: str, millions: float) -> None:
    """facts.md 2.8, for 19 classes."""
    found = golden_of(f"fastseg-{golden}")
    arch = create_model(
        f"lraspp_mobilenet_v3_{golden[:5]}", head="fastseg", head_channels=found.arguments["num_filters"]
    ).architecture
    assert round(count_parameters(arch) / 1e6, 2) == millions
