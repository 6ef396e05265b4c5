"""Files: what was saved comes back bit for bit, and a file that contradicts itself is explained."""

from __future__ import annotations

import copy
import errno
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

import hswish
from hswish.models import DescribedModule, create_model, list_models, load, save
from hswish.spec.errors import ModelFileError, OptionError, SaveError
from hswish.spec.preprocess import Preprocess

Lived = Callable[..., nn.Module]
GREY = Preprocess(height=32, width=40, resize="stretch", channels="L", mean=(0.1,), std=(0.3,))

VARIANTS: list[dict[str, Any]] = [
    {"num_classes": 3},
    {"num_classes": 4, "width_mult": 0.5, "width_rule": "torchvision", "dropout": 0.35, "bn_momentum": 0.1},
    {"num_classes": 2, "in_channels": 1, "output_stride": 8, "reduced_tail": True, "head_channels": 24, "bn_eps": 1e-5},
]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def assert_same_state(model: nn.Module, other: nn.Module) -> None:
    left, right = model.state_dict(), other.state_dict()
    assert list(left) == list(right)
    for key in left:
        assert left[key].dtype == right[key].dtype, key
        assert left[key].shape == right[key].shape, key
        assert bits(left[key]) == bits(right[key]), key


def refused(path: Path) -> str:
    """The one line with which `load` refuses `path`."""
    with pytest.raises(ModelFileError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable(), "one line, no control characters"
    return message


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("name", list_models())
def test_everything_comes_back_bit_for_bit(name: str, options: dict[str, Any], tmp_path: Path, lived: Lived) -> None:
    model = lived(create_model(name, **{"width_mult": 0.35, **options}))
    assert isinstance(model, DescribedModule)
    classes = tuple(f"cläss {index}" for index in range(options["num_classes"]))
    colour = Preprocess(height=65, width=33, resize="shorter", mean=(0.1, 1 / 3, 0.7))
    preprocess = GREY if options.get("in_channels") == 1 else colour
    model.describe(
        classes=classes, preprocess=preprocess, metrics={"val": {"top1": 1 / 3}}, provenance={"recipe": "r", "seed": 3}
    )
    path = tmp_path / "model.safetensors"
    hswish.save(model, path)
    loaded = hswish.load(str(path))
    assert_same_state(model, loaded)
    assert loaded.description == model.description
    assert loaded.architecture == model.architecture
    assert loaded.classes == classes
    assert loaded.preprocess == preprocess
    assert not loaded.training
    assert all(weight.requires_grad for weight in loaded.parameters())
    x = torch.randn(2, options.get("in_channels", 3), 40, 33)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    again = tmp_path / "again.safetensors"
    save(loaded, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_loaded_network_owns_its_weights_and_trains(tiny_file: Path) -> None:
    model = load(tiny_file)
    tiny_file.write_bytes(b"")  # a weight still mapped to the file would now be lost
    before = [weight.detach().clone() for weight in model.parameters()]
    model.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > 0.9 * len(changed)
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


def test_channels_last_weights_are_stored_in_plain_order(tiny: DescribedModule, tiny_file: Path) -> None:
    other = copy.deepcopy(tiny).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = tiny_file.with_name("other.safetensors")
    save(other, path)
    assert path.read_bytes() == tiny_file.read_bytes()
    assert other.state_dict()["backbone.stem.conv.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_load_as_float32(tiny: DescribedModule, tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "half.safetensors"
    save(tiny, path, dtype=dtype)
    loaded = load(path)
    state = tiny.state_dict()
    for key, value in loaded.state_dict().items():
        if state[key].is_floating_point():
            assert value.dtype == torch.float32
            assert torch.equal(value, state[key].to(dtype).float())
        else:
            assert value.dtype == torch.int64
            assert torch.equal(value, state[key])
    with safe_open(path, "pt") as file:
        assert file.get_tensor("head.hidden.weight").dtype == dtype
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert (loaded(x) - tiny(x)).abs().max() < 0.1 * tiny(x).abs().max()
    assert next(tiny.parameters()).dtype == torch.float32, "the network itself is left alone"


def test_half_precision_keeps_what_it_cannot_hold(tiny: DescribedModule, tmp_path: Path) -> None:
    model = copy.deepcopy(tiny)
    norm = model.get_submodule("backbone.last.norm")
    assert isinstance(norm.running_var, torch.Tensor)
    norm.running_var[0] = 1e6
    path = tmp_path / "half.safetensors"
    save(model, path, dtype=torch.float16)
    assert torch.equal(load(path).state_dict()["backbone.last.norm.running_var"], norm.running_var)


def test_a_half_precision_file_is_half_as_large(tmp_path: Path) -> None:
    model = create_model("mobilenet_v3_small", num_classes=10)
    save(model, tmp_path / "full.safetensors")
    save(model, tmp_path / "half.safetensors", dtype=torch.float16)
    full, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.52 * full


# ---------------------------------------------------------------- saving that fails


def test_only_whole_networks_are_saved(tmp_path: Path) -> None:
    for module in (nn.Linear(2, 2), create_model("mobilenet_v3_small", features_only=True, width_mult=0.1)):
        with pytest.raises(OptionError, match="only a whole hswish network"):
            save(module, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()], ids=repr)
def test_a_save_that_fails_leaves_the_previous_file(
    failure: BaseException, tiny: DescribedModule, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny_file.read_bytes()
    other = create_model("mobilenet_v3_small", width_mult=0.1, num_classes=2)

    def half_written(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", half_written)
    wanted = SaveError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(wanted):
        save(other, tiny_file)
    monkeypatch.undo()
    assert tiny_file.read_bytes() == before
    assert list(tiny_file.parent.iterdir()) == [tiny_file]
    assert_same_state(load(tiny_file), tiny)


def test_a_place_that_cannot_be_written_is_named(tiny: DescribedModule, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "model.safetensors"):
        with pytest.raises(SaveError, match="cannot save"):
            save(tiny, path)


# ---------------------------------------------------------------- files that contradict themselves


def test_missing_and_unknown_weights_are_named(parts: Any, tiny_file: Path) -> None:
    header = dict(parts.header)
    header["head.classifier.wait"] = header.pop("head.classifier.weight")
    tiny_file.write_bytes(parts.joined(header))
    assert "lacks the weights 'head.classifier.weight'" in refused(tiny_file)
    header = {**parts.header, "extra\n\x1b[2Jname": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    tiny_file.write_bytes(parts.joined(header))
    assert "has unknown weights 'extra\\n" in refused(tiny_file)
    tiny_file.write_bytes(parts.joined({"__metadata__": parts.header["__metadata__"]}, b""))
    assert "more; its description does not fit" in refused(tiny_file)


def test_a_wrong_shape_is_named_with_the_right_one(parts: Any, tiny_file: Path) -> None:
    entry = parts.header["head.classifier.weight"]
    for shape in ([8, 3], [24], [3, 8, 1], [], "3\n8", [[3, 8]], None, {"3": 8}, [3] * 100_000):
        tiny_file.write_bytes(parts.joined({**parts.header, "head.classifier.weight": {**entry, "shape": shape}}))
        message = refused(tiny_file)
        assert "head.classifier.weight has shape" in message
        assert "asks for [3, 8]" in message
        assert len(message) < 400 + len(str(tiny_file))


@pytest.mark.parametrize("dtype", ["I32", "U8", "BOOL", "I64", "C64", "F99", 5, None], ids=str)
def test_weights_of_another_kind_are_refused(dtype: object, parts: Any, tiny_file: Path) -> None:
    entry = parts.header["head.classifier.weight"]
    tiny_file.write_bytes(parts.joined({**parts.header, "head.classifier.weight": {**entry, "dtype": dtype}}))
    refused(tiny_file)


def test_whole_numbers_in_place_of_weights_are_refused(tiny: DescribedModule, tiny_file: Path) -> None:
    model = copy.deepcopy(tiny)
    model.head.classifier.weight = nn.Parameter(torch.zeros(3, 8, dtype=torch.int32), requires_grad=False)  # type: ignore[union-attr]
    save(model, tiny_file)
    assert "head.classifier.weight is stored as torch.int32" in refused(tiny_file)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["version"], 2, "newer hswish"),
        (["version"], 10**30, "newer hswish"),
        (["version"], None, "no version"),
        (["version"], float("nan"), "no version"),
        (["version"], "1", "no version"),
        (["task"], "segmentation", "task"),
        (["model", "name"], "mobilenet_v3_large", "weights"),
        (["model", "name"], "mobilenet_v3_smal", "did you mean"),
        (["model", "options", "width_mult"], 0.5, "shape"),
        (["model", "options", "num_classes"], 4, "class names"),
        (["model", "options", "colour"], "red", "unknown option"),
        (["model", "options", "name"], "red", "malformed"),
        (["model", "options"], [], "shape|class names"),
        (["classes"], ["a", "b"], "class names"),
        (["classes"], "abc", "list of names"),
        (["classes"], None, "list of names"),
        (["preprocess", "channels"], "L", "mean and std"),
        (["preprocess"], GREY.to_dict(), "channels"),
        (["preprocess", "std"], [0, 1, 1], "std"),
        (["metrics"], [], "metrics"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_description_that_does_not_fit_is_explained(
    path: list[str], value: object, message: str, parts: Any, tiny_file: Path
) -> None:
    document = parts.document
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    tiny_file.write_bytes(parts.described(document))
    with pytest.raises(ModelFileError, match=message):
        load(tiny_file)
    refused(tiny_file)


def test_a_missing_key_is_named(parts: Any, tiny_file: Path) -> None:
    for key in parts.document:
        document = parts.document
        del document[key]
        tiny_file.write_bytes(parts.described(document))
        assert key in refused(tiny_file)


# ---------------------------------------------------------------- damaged files


def test_a_file_truncated_anywhere_is_refused(tiny_file: Path) -> None:
    content = tiny_file.read_bytes()
    lengths = [*range(12), *range(12, len(content), len(content) // 60), len(content) - 1]
    for length in lengths:
        tiny_file.write_bytes(content[:length])
        refused(tiny_file)
    tiny_file.write_bytes(content + b"\0")
    refused(tiny_file)


def test_two_hundred_damaged_files_are_refused_or_sound(parts: Any, tiny_file: Path) -> None:
    """Whatever is wrong with a file, loading it gives one line that names it, soon and in little memory."""
    content = tiny_file.read_bytes()
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"refused": 0, "sound": 0}
    for seed in range(200):
        rng = random.Random(seed)
        tiny_file.write_bytes(_damage(content, parts, rng))
        start = time.monotonic()
        try:
            model = load(tiny_file)
        except ModelFileError:
            outcomes["refused"] += 1
            refused(tiny_file)
        else:
            outcomes["sound"] += 1
            options = model.architecture.options
            assert model.description.architecture() == model.architecture
            assert len(model.classes) == options.num_classes
            assert model(torch.zeros(1, options.in_channels, 32, 32)).shape[:2] == (1, options.num_classes)
        assert time.monotonic() - start < 10, seed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 200_000
    assert min(outcomes.values()) > 10, "both happen"


def _damage(content: bytes, parts: Any, rng: random.Random) -> bytes:
    kind = rng.choice(["bits", "header bits", "splice", "header", "document", "document"])
    if kind in ("bits", "header bits"):
        end = len(content) if kind == "bits" else len(content) - len(parts.data)
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 3, 50])):
            damaged[rng.randrange(end)] ^= 1 << rng.randrange(8)
        return bytes(damaged)
    if kind == "splice":
        start, length = rng.randrange(len(content)), rng.randrange(64)
        return content[:start] + rng.randbytes(rng.randrange(64)) + content[start + length :]
    if kind == "header":
        return parts.joined(_edited(parts.header, rng))
    return parts.described(_edited(parts.document, rng))


def _edited(tree: Any, rng: random.Random) -> Any:
    """`tree` with one value somewhere in it replaced, removed or added."""
    tree = copy.deepcopy(tree)
    place = tree
    while True:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.2:
            break
        place = place[key]
    junk: list[Any] = [
        None, True, -1, 0, 1, 2, 8, 10**6, 2**63, 10**400, 0.5, 1e308, float("inf"), float("nan"), "", "x", "1",
        "../../etc/passwd", "\n\x00\x1b[2J", "a" * 10_000, [], [1], [[]], {}, {"a": 1}, [0, 2**64], [-4, 0],
    ]  # fmt: skip
    action = rng.choice(["replace", "replace", "replace", "remove", "add"])
    if action == "replace":
        place[key] = rng.choice(junk)
    elif action == "remove":
        del place[key]
    elif isinstance(place, dict):
        place[rng.choice(["x", "", "hswish", "name", "head.new\n"])] = rng.choice(junk)
    else:
        place.append(rng.choice(junk))
    return tree
