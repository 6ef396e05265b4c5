"""Whole networks in 8 bits: the engine and the integer reference of `hswish.quantize` agree to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import hswish
from hswish.export.trace import trace
from hswish.quantize import Scheme, quantize
from hswish.quantize.pipeline import Passes
from hswish.quantize.reference import run_reference
from hswish.runtime.engine import engines_for
from hswish.runtime.native import NativeEngine
from hswish.spec.errors import HswishError
from hswish.spec.interface import Interface
from hswish.spec.quantized import QuantizedGraph
from hswish.spec.quantized_file import QUANTIZED_KEY, write_quantized
from tests.runtime.native.conftest import Build
from tests.runtime.native.test_predictor import picture


def quantised(
    build: Build,
    folder: Path,
    name: str,
    size: tuple[int, int],
    squeeze: Any = "int8",
    kept: frozenset[str] = frozenset(),
    **options: Any,
) -> tuple[Path, QuantizedGraph, np.ndarray]:
    """A network's file in 8 bits, the network, and pictures (1, C, H, W) that it was calibrated on."""
    model, _ = build(name, **options)
    x = np.random.default_rng(1).normal(size=(1, options.get("in_channels", 3), *size)).astype(np.float32)
    net = quantize(trace(model, size), [x], Scheme(squeeze=squeeze, kept=kept), QUICK)
    path = folder / "model.int8.safetensors"
    write_quantized(path, net, model.description, Interface(precision="int8"))
    return path, net, x


QUICK = Passes(repair=False, equalise=False, fit_ranges=False, fit_weights=False, correct_bias=False)
SMALL: dict[str, Any] = {"num_classes": 7, "head_channels": 24, "width_mult": 0.2}
CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    ("mobilenet_v3_small", SMALL),
    ("mobilenet_v3_large", {**SMALL, "padding": "same"}),
    ("mobilenet_v3_small_minimal", {**SMALL, "in_channels": 1}),
    ("mobilenet_v3_large", {**SMALL, "output_stride": 8, "reduced_tail": True}),
    ("mobilenet_v3_small", {**SMALL, "keep_size": 2, "width_rule": "keras"}),
]


@pytest.mark.parametrize(("name", "options"), CLASSIFIERS, ids=str)
def test_classifiers_equal_the_reference(
    name: str, options: dict[str, Any], int8_level: str, build: Build, tmp_path: Path
) -> None:
    path, net, x = quantised(build, tmp_path, name, (37, 30), **options)
    np.testing.assert_array_equal(NativeEngine(path, 1).run(x), run_reference(net, x))


@pytest.mark.parametrize("squeeze", ["float", "int8"])
def test_squeeze_and_excitation_in_either(squeeze: str, engine: ModuleType, build: Build, tmp_path: Path) -> None:
    """In floats the sums may round otherwise: nearly always to the same byte."""
    path, net, x = quantised(build, tmp_path, "mobilenet_v3_small", (37, 30), squeeze, **SMALL)
    found, wanted = NativeEngine(path, 1).run(x), run_reference(net, x)
    assert np.abs(found - wanted).max() <= (0.02 * np.abs(wanted).max() if squeeze == "float" else 0)


HEADS = ["lraspp", "official", "torchvision", "seed", "fastseg", "raspp"]


@pytest.mark.parametrize(("head", "squeeze"), zip(HEADS, ["float", "int8"] * 3, strict=True))
def test_heads_are_near_the_reference(
    head: Any, squeeze: str, engine: ModuleType, build: Build, tmp_path: Path
) -> None:
    """Branches meet in floats, on the smaller maps: less is rounded than the reference rounds."""
    options = {"num_classes": 5, "head": head, "width_mult": 0.2, "head_channels": 24}
    path, net, x = quantised(build, tmp_path, "lraspp_mobilenet_v3_small", (32, 48), squeeze, **options)
    model, _ = build("lraspp_mobilenet_v3_small", **options)
    native = NativeEngine(path, 1)
    found, wanted = native.run(x), run_reference(net, x)
    largest = np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 0.15 * largest
    assert np.abs(found - wanted).mean() < 0.01 * largest
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(native.run_masks(pixels), native.run_pictures(pixels).argmax(1))
    assert model.description == native.description


def test_threads_sizes_and_batches_change_nothing(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    path, _, _ = quantised(build, tmp_path, "mobilenet_v3_large", (32, 32), **SMALL)
    one, three = NativeEngine(path, 1), NativeEngine(path, 3)
    for size in ((64, 64), (33, 70), (7, 5), (1, 1)):
        x = np.random.default_rng(2).normal(size=(2, 3, *size)).astype(np.float32)
        wanted = one.run(x)
        np.testing.assert_array_equal(three.run(x), wanted)
        np.testing.assert_array_equal(one.run(x[1:]), wanted[1:])


def test_predictor_opens_it(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    path, _, _ = quantised(build, tmp_path, "mobilenet_v3_small", (32, 32), **SMALL)
    assert engines_for(path) == ["native"]
    predictor = hswish.Predictor(path)
    native = NativeEngine(path)
    assert native.interface.precision == "int8"
    image = picture(90, 70)
    logits = native.run(native.description.preprocess(image)[None])
    assert predictor(image).to_dict()["label"] == native.description.classes[int(logits.argmax())]


def edited(path: Path, change: Any) -> Path:
    """The file with its document or tensors changed by `change(document, tensors)`."""
    with safe_open(path, framework="numpy") as file:
        metadata, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    document = json.loads(metadata[QUANTIZED_KEY])
    change(document, tensors)
    metadata[QUANTIZED_KEY] = json.dumps(document)
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    return path


def test_damaged_files_are_refused_in_one_line(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    """Whatever is taken out or altered: an error of ours, or a network that runs."""
    path, _, x = quantised(build, tmp_path, "mobilenet_v3_small", (32, 32), **SMALL)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)

    def forget_a_value(document: Any, _: Any) -> None:
        document["values"].pop(rng.choice(sorted(document["values"])))

    def forget_a_node(document: Any, _: Any) -> None:
        document["nodes"].pop(int(rng.integers(len(document["nodes"]))))

    def far_scale(document: Any, _: Any) -> None:
        document["values"][rng.choice(sorted(document["values"]))][0] = 10.0 ** float(rng.integers(-44, 38))

    def cut_a_tensor(_: Any, tensors: Any) -> None:
        name = rng.choice(sorted(tensors))
        tensors[name] = np.ascontiguousarray(tensors[name][:-1])

    def wild_bias(_: Any, tensors: Any) -> None:
        name = rng.choice([name for name, tensor in tensors.items() if tensor.dtype == np.int32])
        tensors[name] = np.full_like(tensors[name], 2**31 - 1)

    errors = []
    for change in (forget_a_value, forget_a_node, far_scale, cut_a_tensor, wild_bias):
        for _ in range(4):
            path.write_bytes(whole)
            try:
                NativeEngine(edited(path, change), 1).run(x)
            except HswishError as error:
                errors.append(str(error))
    assert len(errors) > 12
    assert not [error for error in errors if "\n" in error]


KEPT = [
    ["backbone.stem.conv", "backbone.blocks.1.depthwise.conv"],
    ["backbone.blocks.0.expand.conv", "backbone.blocks.4.project.conv", "backbone.last.conv"],
    ["head.hidden"],
    ["head.classifier", "backbone.blocks.3.se.reduce"],
]


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_layers_that_stay_in_float32(kept: list[str], engine: ModuleType, build: Build, tmp_path: Path) -> None:
    """A block that has one is all in floats: less is rounded than the reference rounds."""
    path, net, x = quantised(build, tmp_path, "mobilenet_v3_small", (37, 30), kept=frozenset(kept), **SMALL)
    found, wanted = NativeEngine(path, 1).run(x), run_reference(net, x)
    assert np.abs(found - wanted).max() < 0.15 * np.abs(wanted).max()


@pytest.mark.parametrize("head", ["lraspp", "fastseg", "raspp"])
def test_heads_with_layers_in_float32(head: Any, engine: ModuleType, build: Build, tmp_path: Path) -> None:
    kept = frozenset(("head.features.conv", "head.project_low", "head.skip_4", "head.fuse_2.conv", "head.pooled.conv"))
    options = {"num_classes": 5, "head": head, "width_mult": 0.2, "head_channels": 24}
    path, net, x = quantised(build, tmp_path, "lraspp_mobilenet_v3_small", (32, 48), kept=kept, **options)
    found, wanted = NativeEngine(path, 1).run(x), run_reference(net, x)
    assert np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()


def test_a_gate_before_the_non_linearity_is_in_floats(engine: ModuleType, build: Build, tmp_path: Path) -> None:
    options = {**SMALL, "block_rule": "se_before_activation"}
    path, net, x = quantised(build, tmp_path, "mobilenet_v3_small", (37, 30), **options)
    found, wanted = NativeEngine(path, 1).run(x), run_reference(net, x)
    assert np.abs(found - wanted).max() < 0.15 * np.abs(wanted).max()
