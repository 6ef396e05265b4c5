"""d-li14/mobilenetv3.pytorch: the same answers as its own code, and strict about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hswish.models import create_model
from hswish.models.adapters import convert, export_file, export_state
from hswish.spec.architecture import resolve
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

SMALL = "d-li14-small_w075-75x101"


@every_golden("d-li14")
def test_answers_and_round_trip(golden: Golden, tmp_path: Path) -> None:
    path, weights = tmp_path / "checkpoint.pth", foreign_weights(golden)
    torch.save(weights, path)
    for source in ("d-li14", f"d-li14:{golden.network}"):
        model = convert(source, path)
        assert model.architecture.options.width_mult == golden.arguments.get("width_mult", 1.0)
        check_answers(model, golden)
        check_round_trip(model, "d-li14", weights)


def test_the_order_of_squeeze_and_activation_matters(tmp_path: Path) -> None:
    """The golden tells the two orders apart."""
    golden = golden_of(SMALL)
    torch.save(foreign_weights(golden), tmp_path / "checkpoint.pth")
    model = convert("d-li14", tmp_path / "checkpoint.pth")
    options = {**model.architecture.options_dict(), "block_rule": "paper"}
    other = create_model(model.architecture.name, **options)
    other.load_state_dict(model.state_dict())
    with pytest.raises(AssertionError):
        check_answers(other.eval(), golden)


def test_a_file_goes_there_and_back(tmp_path: Path) -> None:
    golden = golden_of(SMALL)
    weights = foreign_weights(golden)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, tmp_path / "in.pth")
    assert export_file(convert("d-li14", tmp_path / "in.pth"), "d-li14", tmp_path / "out.pth") == "mobilenetv3_small"
    back = torch.load(tmp_path / "out.pth", weights_only=True)
    assert list(back) == list(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_preprocessing_and_class_names_come_along(tmp_path: Path) -> None:
    torch.save(foreign_weights(golden_of("d-li14-small-96x96")), tmp_path / "checkpoint.pth")
    model = convert("d-li14", tmp_path / "checkpoint.pth")
    assert (model.preprocess.resize, model.preprocess.height, model.preprocess.mean[0]) == ("crop", 224, 0.485)
    assert round(model.preprocess.height / model.preprocess.crop_fraction) == 256
    assert len(model.classes) == 1000
    assert "tench" in model.classes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("conv.0.weight"), "1 tensor missing ('conv.0.weight')"),
        (lambda w: w.update({"classifier.9.bias": torch.zeros(1)}), "1 tensor left over ('classifier.9.bias')"),
        (lambda w: w.update({"conv.1.bias": torch.zeros(9)}), "'conv.1.bias' is (9,), not (432,)"),
    ],
)
def test_every_tensor_must_fit(change, words: str, tmp_path: Path) -> None:
    path, weights = tmp_path / "checkpoint.pth", foreign_weights(golden_of(SMALL))
    change(weights)
    torch.save(weights, path)
    with pytest.raises(ModelFileError) as error:
        convert("d-li14:mobilenetv3_small", path, width_mult=0.75)
    assert words in one_line(error, path)


def test_earlier_code_is_told_apart(tmp_path: Path) -> None:
    """Before commit 3e6938c the squeeze-and-excitation was number 6, after the activation."""
    path = tmp_path / "checkpoint.pth"
    weights = {name.replace(".conv.5.fc", ".conv.6.fc"): w for name, w in foreign_weights(golden_of(SMALL)).items()}
    torch.save(weights, path)
    with pytest.raises(ModelFileError, match=r"missing .*features\.4\.conv\.5\.fc\.0\.weight"):
        convert("d-li14:mobilenetv3_small", path)


def test_what_it_cannot_express_is_refused() -> None:
    rules = {"block_rule": "se_before_activation", "bn_eps": 1e-5}
    export_state(create_model("mobilenet_v3_small", num_classes=10, **rules), "d-li14")
    for options, words in (
        ({}, "block_rule se_before_activation, not paper"),
        ({**rules, "padding": "same"}, "padding symmetric, not same"),
        ({**rules, "reduced_tail": True}, "reduced_tail False, not True"),
        ({**rules, "width_mult": 0.35}, "at width_mult 0.35 has a last convolution"),
        ({**rules, "width_mult": 1.25}, "at width_mult 1.25"),
    ):
        with pytest.raises(OptionError, match=words):
            export_state(create_model("mobilenet_v3_small", num_classes=10, **options), "d-li14")


@pytest.mark.parametrize(
    ("name", "width", "parameters"),  # the repository's README
    [("large", 1.0, 5.483), ("large", 0.75, 3.994), ("small", 1.0, 2.543), ("small", 0.75, 2.042)],
)
def test_published_counts(name: str, width: float, parameters: float) -> None:
    arch = resolve(f"mobilenet_v3_{name}", width_mult=width, block_rule="se_before_activation")
    assert round(count_parameters(arch) / 1e6, 3) == parameters
