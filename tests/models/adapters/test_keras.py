"""Keras: the same answers as its own code, from every kind of file that it writes, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hswish.models import create_model
from hswish.models.adapters import convert, export_file, export_state
from hswish.models.adapters.keras_layers import KERNEL, LINEAR, legacy_name
from hswish.spec.errors import MissingPackageError, ModelFileError, OptionError, SaveError
from tests.models.adapters import keras_writers as writers
from tests.models.adapters.checks import (
    check_answers,
    check_round_trip,
    every_golden,
    foreign_weights,
    golden_of,
    one_line,
)
from tests.models.adapters.golden import Golden

h5py = pytest.importorskip("h5py")

SMALL = "keras-small_a075-75x101"
WHOLE = {
    "Keras 3": writers.write_whole,
    "Keras 2": lambda path, weights, **config: writers.write_whole(path, weights, writers.write_keras_2, **config),
}
DIALECTS: dict[str, tuple[str, Callable[..., None]]] = {
    "Keras 2": ("w.h5", writers.write_keras_2),
    "Keras 3": ("w.h5", writers.write_keras_3),
    "whole model, Keras 2": ("model.h5", WHOLE["Keras 2"]),
    "whole model, Keras 3": ("model.h5", WHOLE["Keras 3"]),
    "by place": ("w.weights.h5", writers.write_modern),
    "by place, without names": ("w.weights.h5", lambda path, weights: writers.write_modern(path, weights, named=False)),
    "archive": ("model.keras", writers.write_archive),
}


def small() -> tuple[Golden, writers.Weights]:
    golden = golden_of(SMALL)
    return golden, foreign_weights(golden)


# --- Answers -------------------------------------------------------------------------------


@every_golden("keras")
def test_answers_and_round_trip(golden: Golden, tmp_path: Path) -> None:
    path, weights = tmp_path / "w.weights.h5", foreign_weights(golden)
    writers.write_modern(path, weights)
    model = convert("keras", path)
    assert model.architecture.options.width_mult == golden.arguments.get("alpha", 1.0)
    assert model.architecture.name.endswith("minimal") == golden.arguments.get("minimalistic", False)
    check_answers(model, golden)
    check_round_trip(model, "keras", weights)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_kind_of_file(dialect: str, tmp_path: Path) -> None:
    golden, weights = small()
    name, write = DIALECTS[dialect]
    config = {"batch_shape": [None, 96, 128, 3]} if name == "model.h5" else {}
    write(tmp_path / name, weights, **config)
    model = convert("keras:MobileNetV3Small", tmp_path / name, width_mult=0.75)
    assert (model.preprocess.height, model.preprocess.width) == ((96, 128) if config else (224, 224))
    check_round_trip(model, "keras", weights)
    check_answers(model, golden)


@pytest.mark.parametrize("option", ["padding", "bn_eps"])
def test_the_golden_tells_readings_apart(option: str, tmp_path: Path) -> None:
    golden, weights = golden_of("keras-small-96x96"), foreign_weights(golden_of("keras-small-96x96"))
    writers.write_keras_3(tmp_path / "w.h5", weights)
    model = convert("keras", tmp_path / "w.h5")
    options = {**model.architecture.options_dict(), option: {"padding": "symmetric", "bn_eps": 1e-5}[option]}
    other = create_model(model.architecture.name, **options)
    other.load_state_dict(model.state_dict())
    with pytest.raises(AssertionError):
        check_answers(other.eval(), golden)


# --- The files of real Keras ---------------------------------------------------------------


def with_weights(found: dict[str, Any]) -> dict[str, Any]:
    """What a real file says of layers that have weights; the others are named and empty."""
    groups = {name.rsplit("/", 1)[0] for name, what in found.items() if isinstance(what, list)}
    kept = {name: what for name, what in found.items() if isinstance(what, list) or name in groups}
    kept |= {name: what for name, what in found.items() if isinstance(what, dict) and what.get("weight_names")}
    return {name: what for name, what in kept.items() if what}


@pytest.mark.parametrize(
    ("version", "kind", "write"),
    [
        ("2.15.0", "weights", writers.write_keras_2),
        ("3.15.1", "weights", writers.write_keras_3),
        ("2.15.0", "whole", WHOLE["Keras 2"]),
        ("3.15.1", "whole", WHOLE["Keras 3"]),
        ("3.15.1", "modern.weights", writers.write_modern),
        ("2.15.0", "modern.weights", lambda path, weights: writers.write_modern(path, weights, named=False)),
    ],
)
def test_our_writers_write_what_keras_writes(version: str, kind: str, write: Any, tmp_path: Path) -> None:
    """The files that the other tests read have the names, shapes and attributes of real ones."""
    golden = golden_of("keras-small-96x96")
    weights = foreign_weights(golden)
    weights |= {"logits/kernel": torch.zeros(1, 1, 1024, 10), "logits/bias": torch.zeros(10)}
    write(tmp_path / "made.h5", weights)
    made = {name: what for name, what in writers.contents(tmp_path / "made.h5").items() if "optimizer" not in name}
    assert with_weights(made) == with_weights(writers.real_files(version)[kind])


@pytest.mark.parametrize("kind", ["whole", "weights", "modern.weights"])
@pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
def test_a_file_with_every_name_of_a_real_one(version: str, kind: str, tmp_path: Path) -> None:
    """Layers without weights, empty groups and all: each tensor, told by its own number, finds its place."""
    found = writers.real_files(version)[kind]
    numbers = {name: index for index, name in enumerate(n for n, what in found.items() if isinstance(what, list))}
    writers.write_as_found(tmp_path / "real.h5", found, lambda name: np.full(found[name], numbers[name], np.float32))
    state = export_state(convert("keras", tmp_path / "real.h5"), "keras")
    assert sorted(float(tensor.flatten()[0]) for tensor in state.values()) == sorted(numbers.values())
    for place, number in numbers.items():
        if kind != "modern.weights":
            name = legacy_name(place.removeprefix("model_weights/"))
        elif version == "3.15.1":
            *group, variable = place.split("/")
            layer = found["/".join(group)]["name"]
            variables = [name for name in state if name.startswith(f"{layer}/")]
            name = variables[int(variable)]
        else:
            continue
        assert float(state[name].flatten()[0]) == number, place


# --- Back to Keras -------------------------------------------------------------------------


def test_what_is_written_is_what_keras_3_writes(tmp_path: Path) -> None:
    """Names, shapes, order of layers: `load_weights` of real Keras 2 and 3 took such files."""
    _, weights = small()
    writers.write_keras_3(tmp_path / "in.h5", weights)
    model = convert("keras", tmp_path / "in.h5")
    assert export_file(model, "keras", tmp_path / "out.h5") == "MobileNetV3Small"
    made, found = writers.contents(tmp_path / "out.h5"), writers.contents(tmp_path / "in.h5")
    assert made.pop("")["layer_names"] == found.pop("")["layer_names"]
    assert made == found
    export_file(model, "keras", tmp_path / "out.weights.h5")
    writers.write_modern(tmp_path / "in.weights.h5", weights, named=False)
    made, found = writers.contents(tmp_path / "out.weights.h5"), writers.contents(tmp_path / "in.weights.h5")
    assert made.items() <= found.items()
    assert {name for name in found.keys() - made.keys() if isinstance(found[name], list)} == {"optimizer/vars/0"}
    for name in ("out.h5", "out.weights.h5"):
        check_round_trip(convert("keras", tmp_path / name), "keras", weights)


def test_layouts_undo_each_other() -> None:
    x = torch.randn(3, 5, 7, 11)
    assert torch.equal(KERNEL.to_theirs(KERNEL.to_ours(x)), x)
    assert KERNEL.to_ours(x).shape == (11, 7, 3, 5)
    y = torch.randn(1, 1, 7, 11)
    assert torch.equal(LINEAR.to_theirs(LINEAR.to_ours(y)), y)


def test_what_it_cannot_express_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="padding same, not symmetric"):
        export_state(create_model("mobilenet_v3_small"), "keras")
    with pytest.raises(OptionError, match="keras has no lraspp_mobilenet_v3_small"):
        export_state(create_model("lraspp_mobilenet_v3_small"), "keras")
    _, weights = small()
    writers.write_keras_3(tmp_path / "in.h5", weights)
    model = convert("keras", tmp_path / "in.h5")
    with pytest.raises(OptionError, match=r"a file for keras ends in \.h5"):
        export_file(model, "keras", tmp_path / "out.keras")
    (tmp_path / "file").touch()
    with pytest.raises(SaveError):
        export_file(model, "keras", tmp_path / "file" / "out.h5")


# --- Description ---------------------------------------------------------------------------


def test_preprocessing_and_class_names_come_along(tmp_path: Path) -> None:
    writers.write_keras_3(tmp_path / "w.h5", foreign_weights(golden_of("keras-small-96x96")))
    model = convert("keras", tmp_path / "w.h5")
    assert (model.preprocess.resize, model.preprocess.height, model.preprocess.width) == ("crop", 224, 224)
    assert model.preprocess.crop_fraction == 0.875
    pixels = np.array([[[0, 127, 255]]], np.uint8)
    np.testing.assert_allclose(model.preprocess.normalise(pixels)[:, 0, 0], pixels[0, 0] / 127.5 - 1, atol=1e-6)
    assert "tench" in model.classes[0]
    assert model.description.provenance["converted_from"]["network"] == "MobileNetV3Small"


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"batch_shape": [None, 160, 128, 3]}, (160, 128)),  # Keras 3
        ({"batch_input_shape": [None, 160, 128, 3]}, (160, 128)),  # Keras 2
        ({"batch_shape": [None, None, None, 3]}, (224, 224)),
        ({"batch_shape": [None, 10**9, 1, 3]}, (224, 224)),
        ({"batch_shape": "160"}, (224, 224)),
        ({}, (224, 224)),
    ],
)
def test_a_whole_model_knows_its_input_size(config: dict[str, Any], size: tuple[int, int], tmp_path: Path) -> None:
    _, weights = small()
    writers.write_archive(tmp_path / "model.keras", weights, {"config": {"layers": [{"config": config}]}})
    preprocess = convert("keras", tmp_path / "model.keras").preprocess
    assert (preprocess.height, preprocess.width) == size


# --- Strictness ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("conv_1/kernel"), "1 tensor missing ('conv_1/kernel')"),
        (lambda w: w.update({"dense/bias": torch.zeros(1)}), "1 tensor left over ('dense/bias')"),
        (lambda w: w.update({"conv_1_bn/beta": torch.zeros(9)}), "'conv_1_bn/beta' is (9,), not (432,)"),
    ],
)
@pytest.mark.parametrize("write", [writers.write_keras_2, writers.write_keras_3])
def test_every_tensor_must_fit(write: Any, change: Any, words: str, tmp_path: Path) -> None:
    path, (_, weights) = tmp_path / "w.h5", small()
    change(weights)
    write(path, weights)
    with pytest.raises(ModelFileError) as error:
        convert("keras:MobileNetV3Small", path, width_mult=0.75)
    assert words in one_line(error, path)


def test_a_layer_too_few_by_place(tmp_path: Path) -> None:
    """Places are counted, so that after a layer that is missing none means what it meant."""
    path, (_, weights) = tmp_path / "w.weights.h5", small()
    del weights["expanded_conv_3_expand/kernel"]
    writers.write_modern(path, weights)
    with pytest.raises(ModelFileError) as error:
        convert("keras:MobileNetV3Small", path, width_mult=0.75)
    assert "left over ('layers/" in one_line(error, path)


@pytest.mark.parametrize("dialect", ["Keras 2", "Keras 3", "by place", "archive"])
def test_a_network_without_its_classifier(dialect: str, tmp_path: Path) -> None:
    (name, write), (_, weights) = DIALECTS[dialect], small()
    write(tmp_path / name, {name: w for name, w in weights.items() if not name.startswith(("conv_2", "logits"))})
    with pytest.raises(ModelFileError, match="include_top=False"):
        convert("keras", tmp_path / name)


def renamed(weights: writers.Weights) -> writers.Weights:
    """Every layer called by its number, as somebody's own names would be."""
    numbers: dict[str, int] = {}
    for name in weights:
        numbers.setdefault(name.split("/")[0], len(numbers))
    return {f"mine_{numbers[name.split('/')[0]]}/{name.split('/')[1]}": tensor for name, tensor in weights.items()}


def test_renamed_layers_are_taken_by_their_order(tmp_path: Path) -> None:
    """As `load_weights` of Keras takes a `.h5`, whatever its layers are called; shapes must fit all the same."""
    path, (_, weights) = tmp_path / "w.h5", small()
    writers.write_keras_3(path, renamed(weights))
    check_round_trip(convert("keras", path), "keras", weights)
    one, other = "expanded_conv_1_expand/kernel", "expanded_conv_1_project/kernel"
    writers.write_keras_3(path, renamed({**weights, one: weights[other], other: weights[one]}))
    with pytest.raises(ModelFileError, match="2 of another shape"):
        convert("keras:MobileNetV3Small", path, width_mult=0.75)
    del weights["conv/kernel"]
    writers.write_keras_3(path, renamed(weights))
    with pytest.raises(ModelFileError, match=r"missing .* left over"):
        convert("keras:MobileNetV3Small", path, width_mult=0.75)


def test_a_list_of_names_that_was_cut_up(tmp_path: Path) -> None:
    """An attribute holds 64 KB; Keras cuts a longer list into `layer_names0`, `layer_names1` and so on."""
    path, (_, weights) = tmp_path / "w.h5", small()
    writers.write_keras_3(path, renamed(weights))
    with h5py.File(path, "r+") as file:
        names = list(file.attrs.pop("layer_names"))
        for part in range(12):
            file.attrs[f"layer_names{part}"] = names[part * 10 : part * 10 + 10]
    check_round_trip(convert("keras", path), "keras", weights)


def test_files_of_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for weights, words in (
        ({"weight": torch.zeros(1)}, "a checkpoint of PyTorch; name its library"),
        (foreign_weights(golden_of("d-li14-small_w075-75x101")), "this looks like d-li14:mobilenetv3_small"),
    ):
        torch.save(weights, path)
        with pytest.raises(ModelFileError) as error:
            convert("keras", path)
        assert words in one_line(error, path)
    keras, (_, weights) = tmp_path / "w.h5", small()
    writers.write_keras_3(keras, weights)
    with pytest.raises(ModelFileError, match="convert it as keras"):
        convert("timm", keras)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, (_, weights) = tmp_path / "w.h5", small()
    writers.write_keras_3(path, weights)
    model = convert("keras", path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for action in (lambda: convert("keras", path), lambda: export_file(model, "keras", tmp_path / "out.h5")):
        with pytest.raises(MissingPackageError, match=r"pip install 'hswish\[keras\]'"):
            action()
    assert not (tmp_path / "out.h5").exists()
