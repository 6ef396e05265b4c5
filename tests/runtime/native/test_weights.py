"""Files whose weights contradict their description are refused in one line, whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hswish.runtime.native import NativeEngine
from hswish.runtime.native.weights import Weights
from hswish.spec.errors import HswishError, ModelFileError
from tests.models.conftest import Parts, parts, tiny, tiny_file  # noqa: F401 - fixtures


def opened(path: Path, content: bytes) -> NativeEngine:
    path.write_bytes(content)
    return NativeEngine(path, 1)


def test_missing_unknown_and_misshapen(parts: Parts, engine: ModuleType, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "model.safetensors"
    name = "backbone.stem.conv.weight"

    header = json.loads(json.dumps(parts.header))
    header["backbone.stern.conv.weight"] = header.pop(name)
    with pytest.raises(ModelFileError, match=rf"lacks the weights '{name}'"):
        opened(path, parts.joined(header))

    header = json.loads(json.dumps(parts.header))
    header["head.extra.bias"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(parts.data), len(parts.data)]}
    with pytest.raises(ModelFileError, match=r"has unknown weights 'head\.extra\.bias'"):
        opened(path, parts.joined(header))

    header = json.loads(json.dumps(parts.header))
    header[name]["shape"] = header[name]["shape"][::-1]
    with pytest.raises(ModelFileError, match="its description asks for"):
        opened(path, parts.joined(header))

    header = json.loads(json.dumps(parts.header))
    header[name]["dtype"] = "I32"
    with pytest.raises(ModelFileError, match="stored as I32, which is no type for it"):
        opened(path, parts.joined(header))


def test_a_description_of_another_network(parts: Parts, engine: ModuleType, tmp_path: Path) -> None:  # noqa: F811
    for options in ({"width_mult": 16.0}, {"width_mult": 0.35}, {"depth_mult": 8.0}, {"head_channels": 65536}):
        document = parts.document
        document["model"]["options"] |= options
        with pytest.raises(ModelFileError):
            opened(tmp_path / "model.safetensors", parts.described(document))


def test_damage_at_random(parts: Parts, engine: ModuleType, tmp_path: Path) -> None:  # noqa: F811
    """A damaged file is refused or runs; nothing else comes out."""
    whole, path = parts.joined(), tmp_path / "model.safetensors"
    header = len(whole) - len(parts.data)
    random = np.random.default_rng(0)
    refused: list[str] = []
    for turn in range(200):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            damaged[random.integers(header if turn % 2 else len(whole))] = random.integers(256)
        try:
            opened(path, bytes(damaged)).run(np.ones((1, 3, 32, 32), np.float32))
        except HswishError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not [text for text in refused if "\n" in text]


def test_batch_norm_is_folded_in_float64(parts: Parts, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "model.safetensors"
    path.write_bytes(parts.joined())
    by_hand, folded = Weights(path), Weights(path)
    name, shape = "backbone.stem", (8, 3, 3, 3)
    layer = folded.conv_norm(name, *shape, eps=1e-3)
    scale = by_hand.take(f"{name}.norm.weight", 8) / np.sqrt(by_hand.take(f"{name}.norm.running_var", 8) + 1e-3)
    weight = by_hand.take(f"{name}.conv.weight", *shape) * scale[:, None, None, None]
    bias = by_hand.take(f"{name}.norm.bias", 8) - by_hand.take(f"{name}.norm.running_mean", 8) * scale
    np.testing.assert_array_equal(layer.weight, weight.astype(np.float32))
    np.testing.assert_array_equal(layer.bias, bias.astype(np.float32))
