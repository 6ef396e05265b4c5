"""The artifact's description: round trips, and one clear line for every broken file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as to_safetensors
from safetensors.numpy import save_file

from hswish.spec.architecture import MODEL_NAMES, task_of
from hswish.spec.artifact import METADATA_KEY, VERSION, Description, read_description, read_header
from hswish.spec.errors import ModelFileError
from hswish.spec.preprocess import Preprocess


def description(**changes: Any) -> Description:
    values: dict[str, Any] = {
        "model": "mobilenet_v3_small",
        "options": {"num_classes": 3},
        "classes": ("cat", "dog", "bird"),
        "preprocess": Preprocess(height=64, width=64, resize="stretch"),
        "metrics": {"val": {"top1": 0.5}},
        "provenance": {"seed": 0},
    }
    return Description(**{**values, **changes})


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(description().to_json()), **changes}


def model_bytes(text: str | None = None, **metadata: str) -> bytes:
    """A small safetensors file with a description."""
    metadata = {METADATA_KEY: description().to_json() if text is None else text, **metadata}
    return to_safetensors({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float16)}, metadata)


# --- Round trips ---------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    name=st.sampled_from(MODEL_NAMES),
    classes=st.lists(st.text(max_size=12), min_size=1, max_size=12),
    width=st.floats(0.1, 4),
    metrics=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
    provenance=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)
def test_json_round_trip(name: str, classes: list[str], width: float, metrics: Any, provenance: Any) -> None:
    made = description(
        model=name,
        options={"num_classes": len(classes), "width_mult": width},
        classes=tuple(classes),
        metrics=metrics,
        provenance=provenance,
    )
    again = Description.from_json(made.to_json())
    assert again == made
    assert again.task == task_of(name)
    assert again.architecture() == made.architecture()


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((2, 3), np.float32)}, path, {METADATA_KEY: description().to_json()})
    assert read_description(path) == read_description(str(path)) == description()
    assert read_header(path)["a"]["shape"] == [2, 3]


def test_weights_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    data = to_safetensors({"a": np.zeros(1, np.float32)}, {METADATA_KEY: description().to_json()})
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["a"] = {"dtype": "F32", "shape": [2**28], "data_offsets": [0, 2**30]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 2**30)  # sparse: a gigabyte that is never touched
    start = time.perf_counter()
    assert read_description(path) == description()
    assert time.perf_counter() - start < 1


# --- Documents -----------------------------------------------------------------------------


def refusal(text: str) -> str:
    with pytest.raises(ModelFileError) as caught:
        Description.from_json(text, "m.safetensors")
    message = str(caught.value)
    assert message.startswith("m.safetensors: ")
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_newer_version_says_upgrade() -> None:
    message = refusal(json.dumps({"version": VERSION + 1, "anything": "new"}))
    assert "newer" in message
    assert "upgrade" in message


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, True, [1]])
def test_version_that_is_no_version(version: object) -> None:
    assert "version" in refusal(json.dumps(document(version=version)))


@pytest.mark.parametrize("key", ["model", "task", "classes", "preprocess", "metrics", "provenance"])
def test_missing_key_is_named(key: str) -> None:
    broken = document()
    del broken[key]
    assert key in refusal(json.dumps(broken))


def test_a_mask_needs_the_whole_picture() -> None:
    for name in MODEL_NAMES:
        cropped = description(model=name, preprocess=Preprocess(height=64, width=64, resize="crop"))
        if task_of(name) == "segmentation":
            assert "resize must be shorter or stretch" in refusal(cropped.to_json())
        else:
            assert Description.from_json(cropped.to_json()) == cropped


@pytest.mark.parametrize("key", ["name", "options"])
def test_missing_key_of_the_model(key: str) -> None:
    broken = document()
    del broken["model"][key]
    assert key in refusal(json.dumps(broken))


WRONG = [None, 7, 1.5, "text", True, [], [1], {}, {"a": 1}, [["name", "x"]]]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("key", ["model", "task", "classes", "preprocess"])
def test_wrong_type(key: str, value: object) -> None:
    refusal(json.dumps(document(**{key: value})))


@pytest.mark.parametrize("value", [value for value in WRONG if not isinstance(value, dict)], ids=repr)
@pytest.mark.parametrize("key", ["metrics", "provenance"])
def test_metrics_and_provenance_are_objects(key: str, value: object) -> None:
    assert key in refusal(json.dumps(document(**{key: value})))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["cat", "dog"]}, "2 class names for 3 outputs"),
        ({"classes": ["cat", "dog", 3]}, "classes"),
        ({"task": "segmentation"}, "segmentation"),
        ({"model": {"name": "mobilenet_v3_smal", "options": {}}}, "did you mean mobilenet_v3_small"),
        ({"model": {"name": "mobilenet_v3_small", "options": {"num_classes": 3, "widht_mult": 1}}}, "width_mult"),
        ({"model": {"name": "mobilenet_v3_small", "options": {"num_classes": 3, "width_mult": -1}}}, "width_mult"),
        ({"model": {"name": "mobilenet_v3_small", "options": {"num_classes": 3, "in_channels": 1}}}, "1"),
        ({"model": {"name": ["a"], "options": {}}}, "unknown model"),
        ({"model": {"name": "x" * 1_000_000, "options": {}}}, "unknown model"),
        ({"preprocess": {"height": 64, "width": 64, "size": 7}}, "size"),
        ({"preprocess": {"height": 64}}, "width"),
        ({"preprocess": {"height": 64, "width": 64, "mean": [0.5, 0.5]}}, "3 values"),
        ({"preprocess": {"height": 64, "width": 64, "mean": [10**400] * 3}}, "mean"),
        ({"preprocess": {"height": 64, "width": 64, "mean": [0.5], "std": [1], "channels": "L"}}, "1 channels"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], said: str) -> None:
    assert said in refusal(json.dumps(document(**changes)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"text"', "[" * 100_000, '{"version": ' + "9" * 5000 + "}"]
)
def test_not_a_document(text: str) -> None:
    refusal(text)


@given(st.recursive(json_values, lambda inner: st.dictionaries(st.sampled_from(list(document())), inner)))
def test_any_json_is_refused_in_one_line(value: Any) -> None:
    refusal(json.dumps(value))


@given(st.sampled_from(list(document())), json_values)
def test_one_wrong_value_never_escapes(key: str, value: Any) -> None:
    with contextlib.suppress(ModelFileError):
        assert Description.from_json(json.dumps(document(**{key: value})), "m").architecture()


@given(st.sampled_from(list(document()["preprocess"])), json_values)
def test_one_wrong_preprocess_value_never_escapes(key: str, value: Any) -> None:
    broken = document()
    broken["preprocess"][key] = value
    with contextlib.suppress(ModelFileError):
        assert Description.from_json(json.dumps(broken), "m").preprocess


# --- Files ---------------------------------------------------------------------------------


def file_refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_description(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data, path = model_bytes(), tmp_path / "cut.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        message = file_refusal(path)
        assert "pickle" not in message
    path.write_bytes(data)
    assert read_description(path) == description()
    path.write_bytes(data + b"\0")
    assert "damaged" in file_refusal(path)


def test_a_cut_header_of_128_more_bytes_is_not_called_a_pickle(tmp_path: Path) -> None:
    """Its length's low byte is 0x80, which is also how a pickle begins."""
    path = tmp_path / "cut.safetensors"
    path.write_bytes(struct.pack("<Q", 0x280) + b"{" * 100)
    assert "pickle" not in file_refusal(path)


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert "empty or truncated" in file_refusal(empty)
    assert "no such model file" in file_refusal(tmp_path / "missing.safetensors")
    assert "is a folder" in file_refusal(tmp_path)
    assert "cannot be read" in file_refusal(empty / "below.safetensors")


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "not a regular file" in file_refusal(tmp_path / "pipe.safetensors")


def test_pickles_are_called_pickles(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:  # the layout of torch.save
        file.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0]}))
    for data in (archive.getvalue(), *(pickle.dumps({"weight": list(range(99))}, protocol) for protocol in (2, 4, 5))):
        path.write_bytes(data)
        message = file_refusal(path)
        assert "pickled PyTorch checkpoint" in message
        assert ".safetensors" in message


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap()))
    file_refusal(tmp_path / "trap.pt")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 10_000])
def test_header_that_claims_too_much(tmp_path: Path, length: int) -> None:
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(50))
    file_refusal(path)


def test_safetensors_of_another_tool(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"a": np.zeros(3, np.float32)}, path, metadata)
        assert "another tool" in file_refusal(path)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b'{"a": 1}',
        b'{"a": []}',
        b'{"a": {}}',
        b'{"a": {"data_offsets": []}}',
        b'{"a": {"data_offsets": ["x", "y"]}}',
        b'{"a": {"data_offsets": [0, null]}}',
        b'{"a": {"data_offsets": [0, [1]]}, "b": {"data_offsets": [0, 2]}}',
        b'{"a": {"data_offsets": [0, NaN]}}',
        b'{"a": {"data_offsets": [0, -4]}}',
        b'{"__metadata__": []}',
        b'{"__metadata__": null}',
        b'{"__metadata__": {"hswish": 7}}',
        b'{"__metadata__": {"hswish": "{}"}}',
        b"\xff\xfe{}",
        b"[" * 50_000,
    ],
)
def test_malformed_headers(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    file_refusal(path)


def test_broken_description_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "newer.safetensors"
    path.write_bytes(model_bytes(json.dumps({"version": 99})))
    assert "newer" in file_refusal(path)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x80", b"PK\x03\x04", bytes(8), struct.pack("<Q", 20)]))
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(start + data)
    file_refusal(path)


@given(st.lists(st.tuples(st.integers(0, len(model_bytes()) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_files(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]) -> None:
    data, path = bytearray(model_bytes()), tmp_path_factory.getbasetemp() / "mutated.safetensors"
    for place, value in edits:
        data[place] = value
    path.write_bytes(data)
    try:
        read_description(path)
    except ModelFileError as error:
        message = str(error)
    else:
        message = str(path)
    assert str(path) in message
    assert "\n" not in message
