"""What all adapters share: strictness, wrappers, and files that are damaged, hostile or something else."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from hswish.models import create_model, save
from hswish.models.adapters import convert, export_file, export_state
from hswish.models.adapters.conversion import parse_source
from hswish.models.adapters.files import read_torch_checkpoint
from hswish.models.adapters.matching import expected_shapes, looks_like
from hswish.models.adapters.registry import ADAPTERS, get_adapter
from hswish.spec.architecture import resolve
from hswish.spec.errors import ModelFileError, OptionError
from tests.models.adapters.checks import (
    check_answers,
    check_identical,
    foreign_weights,
    golden_of,
)
from tests.models.adapters.golden import FOLDER, load_golden

SMALL = golden_of("torchvision-small_10-96x96")
SOURCE = "torchvision:mobilenet_v3_small"
TINY = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}
"""enough for what only reads files"""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """torchvision's Small with 10 classes."""
    return foreign_weights(SMALL)


def saved(content: Any, folder: Path, **how: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, **how)
    return path


def refusal(path: Path, source: str = SOURCE, **options: Any) -> str:
    """The one-line error of converting `path`, which names the file."""
    with pytest.raises(ModelFileError) as caught:
        convert(source, path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 700
    return text


# --- Strictness ----------------------------------------------------------------------------


def test_missing_tensors_are_listed(state: dict[str, Tensor], tmp_path: Path) -> None:
    for name in ("features.3.block.0.0.weight", "classifier.3.bias"):
        del state[name]
    text = refusal(saved(state, tmp_path))
    assert "2 tensors missing ('features.3.block.0.0.weight', 'classifier.3.bias')" in text


def test_tensors_left_over_are_counted(tmp_path: Path) -> None:
    extra = {f"head.{index}": torch.zeros(1) for index in range(9)}
    text = refusal(saved({**foreign_weights(SMALL), **extra}, tmp_path))
    assert "9 tensors left over ('head.0', 'head.1', 'head.2' and 6 more)" in text


def test_another_shape_is_told(tmp_path: Path) -> None:
    changed = {**foreign_weights(SMALL), "classifier.0.bias": torch.zeros(1000)}
    assert "1 of another shape ('classifier.0.bias' is (1000,), not (1024,))" in refusal(saved(changed, tmp_path))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("classifier.3.weight", ()), ("classifier.3.weight", (10,)), ("classifier.3.weight", (0, 1024)),
     ("features.0.0.weight", (16, 3)), ("classifier.3.weight", (2, 2, 2, 2, 2))],
)  # fmt: skip
def test_shapes_that_no_network_has(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    refusal(saved({**foreign_weights(SMALL), name: torch.zeros(shape)}, tmp_path), "torchvision")


def test_batch_counters_may_all_be_absent_but_not_some(tmp_path: Path) -> None:
    full = foreign_weights(SMALL)
    old = {name: tensor for name, tensor in full.items() if not name.endswith("num_batches_tracked")}
    model = convert(SOURCE, saved(old, tmp_path))  # as before torch 0.4.1
    check_answers(model, SMALL)
    check_identical(export_state(model, "torchvision"), full)
    del full["features.0.1.num_batches_tracked"]
    assert "1 tensor missing" in refusal(saved(full, tmp_path))


def test_smaller_floats_become_float32(tmp_path: Path) -> None:
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in foreign_weights(SMALL).items()
    }
    model = convert(SOURCE, saved(half, tmp_path))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()["head.hidden.weight"], half["classifier.0.weight"].float())


def test_integers_are_no_weights(tmp_path: Path) -> None:
    changed = {**foreign_weights(SMALL), "classifier.0.bias": torch.zeros(1024, dtype=torch.int32)}
    assert "classifier.0.bias is stored as torch.int32" in refusal(saved(changed, tmp_path))


def test_a_training_that_went_wrong_is_told(tmp_path: Path) -> None:
    changed = {**foreign_weights(SMALL), "classifier.0.bias": torch.full((1024,), float("nan"))}
    assert "classifier.0.bias holds numbers that are not finite" in refusal(saved(changed, tmp_path))


def test_the_model_does_not_depend_on_the_file(tmp_path: Path) -> None:
    path = saved(foreign_weights(SMALL), tmp_path)
    model = convert(SOURCE, path)
    with open(path, "r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    check_answers(model, SMALL)


@pytest.mark.parametrize("library", ADAPTERS)
def test_every_tensor_has_one_name_there(library: str) -> None:
    adapter = get_adapter(library)
    for network in adapter.networks:
        arch = resolve(network.model, **network.options)
        pairs = adapter.pairs(arch)
        assert len({pair.ours for pair in pairs}) == len({pair.theirs for pair in pairs}) == len(pairs)
        assert len(expected_shapes(adapter, arch)) == len(pairs)


# --- Which network, which library ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "guess"),
    [
        ("torchvision-small_10-96x96", "timm", "torchvision:mobilenet_v3_small"),
        ("torchvision-small_10-96x96", "torchvision:mobilenet_v3_large", "torchvision:mobilenet_v3_small"),
        ("torchvision-small_w050-96x96", "torchvision:mobilenet_v3_large", "torchvision:mobilenet_v3_small"),
        ("timm-mobilenetv3_small_050-96x96", "torchvision", "timm:mobilenetv3_small_050"),
        ("timm-mobilenetv3_rw-96x96", "timm:mobilenetv3_large_100", "timm:mobilenetv3_rw"),
        ("torchvision-lraspp_5-96x96", "torchvision:mobilenet_v3_large", "torchvision:lraspp_mobilenet_v3_large"),
    ],
)
def test_the_right_source_is_named(name: str, source: str, guess: str, tmp_path: Path) -> None:
    assert f"this looks like {guess}" in refusal(saved(foreign_weights(golden_of(name)), tmp_path), source)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*-*x*.npz")), ids=lambda path: path.stem)
def test_every_golden_looks_like_what_it_is(path: Path) -> None:
    found = load_golden(path)
    # Keras's minimalistic networks are an argument there, and networks of their own here.
    assert any(name.startswith(f"{found.library}:{found.network}") for name in looks_like(found.shapes))


def test_another_network_altogether(tmp_path: Path) -> None:
    text = refusal(saved(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 2)).state_dict(), tmp_path), "torchvision")
    assert "does not fit any network of torchvision: compared with mobilenet_v3_small," in text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvison", "did you mean torchvision"),
        ("torchvision:mobilenet_v3_larg", "did you mean mobilenet_v3_large"),
        ("torchvision:", "write LIBRARY, LIBRARY:NETWORK or"),
        ("timm:mobilenetv3_large_100.", "write LIBRARY, LIBRARY:NETWORK or"),
        ("timm:mobilenetv3_large_100.ra_in1", "did you mean ra_in1k"),
        ("", "unknown library ''"),
    ],
)
def test_unknown_sources(source: str, message: str, tmp_path: Path) -> None:
    path = saved(
        foreign_weights(golden_of("timm-mobilenetv3_large_100-96x96")) if "ra_in1" in source else TINY, tmp_path
    )
    with pytest.raises(OptionError, match=message):
        convert(source, path)


def test_sources_have_three_parts() -> None:
    assert parse_source("timm") == ("timm", None, None)
    assert parse_source("timm:mobilenetv3_rw") == ("timm", "mobilenetv3_rw", None)
    assert parse_source("timm:mobilenetv3_rw.rmsp_in1k") == ("timm", "mobilenetv3_rw", "rmsp_in1k")


# --- Classes -------------------------------------------------------------------------------


def test_classes_are_named(tmp_path: Path) -> None:
    names = [f"kind {index}" for index in range(10)]
    assert convert(SOURCE, saved(foreign_weights(SMALL), tmp_path), classes=names).classes == tuple(names)


def test_another_number_of_classes(tmp_path: Path) -> None:
    path = saved(foreign_weights(SMALL), tmp_path)
    with pytest.raises(OptionError, match=r"2 class names for 10 outputs; .* add --num-classes 2"):
        convert(SOURCE, path, classes=["cat", "dog"])
    model = convert(SOURCE, path, classes=["cat", "dog"], num_classes=2)
    assert model.classes == ("cat", "dog")
    assert model.description.provenance["converted_from"]["new_classifier"] is True
    kept, fresh = convert(SOURCE, path).state_dict(), model.state_dict()
    assert {name for name in kept if kept[name].shape != fresh[name].shape} == {
        "head.classifier.weight",
        "head.classifier.bias",
    }
    assert all(torch.equal(kept[name], fresh[name]) for name in kept if "head.classifier" not in name)
    again = convert(SOURCE, path, num_classes=2)
    assert torch.equal(again.state_dict()["head.classifier.weight"], fresh["head.classifier.weight"])
    assert fresh["head.classifier.weight"].std() > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_same_number_keeps_the_classifier(tmp_path: Path) -> None:
    model = convert(SOURCE, saved(foreign_weights(SMALL), tmp_path), num_classes=10)
    check_answers(model, SMALL)
    assert model.description.provenance["converted_from"]["new_classifier"] is False


def test_a_new_classifier_has_no_borrowed_names(tmp_path: Path) -> None:
    model = convert(SOURCE, saved(foreign_weights(SMALL), tmp_path), num_classes=1000)
    assert model.classes[0] == "0"


def test_the_converters_random_numbers_are_its_own(tmp_path: Path) -> None:
    path = saved(foreign_weights(SMALL), tmp_path)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    convert(SOURCE, path, num_classes=2)
    assert torch.equal(before, torch.get_rng_state())


# --- Wrappers ------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_prefixes_and_wrappers_go(prefix: str, key: str | None, tmp_path: Path) -> None:
    wrapped: Any = OrderedDict((prefix + name, tensor) for name, tensor in TINY.items())
    path = saved({key: wrapped, "epoch": 1} if key else wrapped, tmp_path)
    check_identical(read_torch_checkpoint(path).tensors, TINY)


def test_a_prefix_on_some_names_stays(tmp_path: Path) -> None:
    mixed = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert list(read_torch_checkpoint(saved(mixed, tmp_path)).tensors) == ["module.a", "b"]


def test_only_averaged_weights(tmp_path: Path) -> None:
    averaged = {"n_averaged": torch.tensor(1), **{f"module.{name}": tensor for name, tensor in TINY.items()}}
    for content in (averaged, {"model_ema": averaged}):
        check_identical(read_torch_checkpoint(saved(content, tmp_path), ema=False).tensors, TINY)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch(zipped: bool, tmp_path: Path) -> None:
    path = saved(TINY, tmp_path, _use_new_zipfile_serialization=zipped)
    check_identical(read_torch_checkpoint(path).tensors, TINY)


def test_the_files_kind_is_in_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    safetensors.torch.save_file(TINY, path)
    assert read_torch_checkpoint(path).tensors.keys() == TINY.keys()


# --- Files that are something else ---------------------------------------------------------


class Payload:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_more_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    path = saved({**TINY, "x": Payload(tmp_path / "pwned")}, tmp_path, _use_new_zipfile_serialization=zipped)
    text = refusal(path)
    assert "holds more than weights (posix.mkdir), and unpickling that could run code" in text
    assert "torch.save(model.state_dict(), 'weights.pth')" in text
    assert not (tmp_path / "pwned").exists()


def test_a_bare_pickle(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "pwned"), protocol=4))
    refusal(path)
    assert not (tmp_path / "pwned").exists()


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    assert "holds more than weights (torch.nn.modules.linear.Linear)" in refusal(saved(nn.Linear(2, 2), tmp_path))


def test_a_torchscript_program(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)  # type: ignore[no-untyped-call]
    assert "a TorchScript program, not weights" in refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), "holds a Tensor, not a state dict"),
        ([TINY], "holds a list, not a state dict"),
        ({}, "no weights in it"),
        ({"epoch": 3, "lr": 0.1}, "no weights in it; its keys are 'epoch', 'lr'"),
        ({"model": {}}, "no weights in it"),
        ({**TINY, "epoch": 3}, "'epoch' is a int; save model.state_dict() alone"),
        ({**TINY, 5: torch.zeros(1)}, "no state dict: 5 is a Tensor"),
        ({**TINY, "q": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)}, "quantised weights ('q')"),
        ({**TINY, "s": torch.zeros(2, 2).to_sparse()}, "'s' is no ordinary tensor"),
        ({**TINY, "m": torch.zeros(2, device="meta")}, "'m' is no ordinary tensor"),
        ({**TINY, "e": torch.zeros(1).expand(10**12)}, "'e' claims more values than the file holds"),
    ],
)
def test_contents_that_are_no_state_dict(content: Any, words: str, tmp_path: Path) -> None:
    assert words in refusal(saved(content, tmp_path))


def test_our_own_model_file(tmp_path: Path) -> None:
    save(create_model("mobilenet_v3_small", num_classes=2), tmp_path / "ours.safetensors")
    assert "already a model of hswish" in refusal(tmp_path / "ours.safetensors")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty or truncated"),
        (b"x", "empty or truncated"),
        (b"I am no model\n" * 20, "no checkpoint of PyTorch"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file, as Keras writes them"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
        (b"\x80\x02" + bytes(100), "damaged, partly downloaded, or no"),
        (struct.pack("<Q", 2**60) + b"{" + bytes(100), "truncated or damaged"),
        (struct.pack("<Q", 50) + b"{" + b"x" * 100, "truncated or damaged"),
        (b"<!DOCTYPE html><html>404</html>", "no checkpoint of PyTorch"),
    ],
)
def test_bytes_that_are_no_checkpoint(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert words in refusal(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.pth")
    assert "is a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a regular file" in refusal(tmp_path / "pipe.pth")


# --- Damaged files -------------------------------------------------------------------------


def write_kind(kind: str, path: Path) -> bytes:
    """A small checkpoint of each kind; its bytes."""
    if kind == "safetensors":
        safetensors.torch.save_file(TINY, path)
    else:
        torch.save(TINY, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_partial_downloads(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    whole = write_kind(kind, path)
    for length in sorted({0, 1, 9, 10, 100, len(whole) // 2, len(whole) - 20, len(whole) - 1}):
        path.write_bytes(whole[:length])
        assert "fetch" in refusal(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damaged_bytes_are_an_error_or_other_values(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    whole = write_kind(kind, path)
    random = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(ModelFileError):
            read_torch_checkpoint(path)


def test_a_compressed_zip(tmp_path: Path) -> None:
    """torch never writes one, and a small one can grow to any size."""
    plain, packed = saved(TINY, tmp_path), tmp_path / "packed.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert "a compressed zip" in refusal(packed)


def test_a_name_that_promises_a_hash(tmp_path: Path) -> None:
    path = saved(foreign_weights(SMALL), tmp_path)
    digest = read_torch_checkpoint(path).sha256
    kept = path.rename(tmp_path / f"mobilenet_v3_small-{digest[:8]}.pth")
    check_answers(convert(SOURCE, kept), SMALL)
    broken = kept.rename(tmp_path / "mobilenet_v3_small-00000000.pth")
    assert f"corrupt or partly downloaded, its SHA-256 begins with {digest[:8]}" in refusal(broken)


# --- Writing back --------------------------------------------------------------------------


def test_wrong_endings_and_strangers(tmp_path: Path) -> None:
    model = create_model("mobilenet_v3_small", num_classes=2)
    with pytest.raises(OptionError, match=r"x\.onnx: a file for torchvision ends in \.pth or"):
        export_file(model, "torchvision", tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OptionError, match="did you mean torchvision"):
        export_state(model, "torch-vision")
    with pytest.raises(OptionError, match="only a whole hswish network"):
        export_state(nn.Linear(2, 2), "torchvision")


def test_the_origin_is_kept(tmp_path: Path) -> None:
    path = saved(foreign_weights(SMALL), tmp_path)
    origin = convert(SOURCE, path).description.provenance["converted_from"]
    assert origin == {
        "library": "torchvision",
        "network": "mobilenet_v3_small",
        "weights": None,
        "file": "weights.pth",
        "sha256": read_torch_checkpoint(path).sha256,
        "averaged": False,
        "new_classifier": False,
    }
