"""Damaged and hostile files of Keras: one line that names the file, no code run, no memory spent."""

from __future__ import annotations

import base64
import json
import marshal
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hswish.models.adapters import convert
from hswish.models.adapters.keras import Keras
from hswish.spec.errors import HswishError, ModelFileError
from tests.models.adapters import keras_writers as writers
from tests.models.adapters.checks import check_round_trip, foreign_weights, golden_of, one_line

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def weights() -> writers.Weights:
    return foreign_weights(golden_of("keras-small_a035-75x101"))


@pytest.fixture(scope="module")
def tiny(weights: writers.Weights) -> writers.Weights:
    """One number for each tensor: as many structures in a file, and hardly a byte that is not one."""
    return {name: tensor.flatten()[:1].reshape([1] * tensor.ndim) for name, tensor in weights.items()}


def refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as error:
        convert("keras", path)
    return one_line(error, path)


# --- HDF5 ----------------------------------------------------------------------------------


def external_link(file: Any, secret: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv/kernel"] = h5py.ExternalLink(secret, "conv/conv/kernel")


def soft_link(file: Any, _: Path) -> None:
    file["copy"] = h5py.SoftLink("/conv")


def external_storage(file: Any, secret: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv"].create_dataset("kernel", (3, 3, 3, 16), "f4", external=[(str(secret), 0, 1728)])


def virtual(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 16), "f4")
    layout[:] = h5py.VirtualSource(secret, "conv/conv/kernel", (3, 3, 3, 16))
    file["conv/conv"].pop("kernel")
    file["conv/conv"].create_virtual_dataset("kernel", layout)


def huge(file: Any, _: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv"].create_dataset("kernel", (2**40,), "f4", chunks=(2**20,))


def compressed(file: Any, _: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv"].create_dataset("kernel", data=np.zeros((3, 3, 2**12, 64), "f4"), compression="gzip")


def one_for_many(file: Any, _: Path) -> None:
    for index in range(64):
        file[f"again_{index}/kernel"] = file["conv_2/conv_2/kernel"]


def in_a_circle(file: Any, _: Path) -> None:
    file["conv/conv/conv"] = file["conv"]


def of_many_groups(file: Any, _: Path) -> None:
    group = file.create_group("many")
    for index in range(5_001):
        group.create_group(str(index))


def of_text(file: Any, _: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv/kernel"] = "weights"


def of_integers(file: Any, _: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv/kernel"] = np.zeros((3, 3, 3, 16), np.int32)


def empty(file: Any, _: Path) -> None:
    file["conv/conv"].pop("kernel")
    file["conv/conv/kernel"] = h5py.Empty("f4")


def twice(file: Any, _: Path) -> None:
    file["Conv/BatchNorm/Conv/BatchNorm/gamma:0"] = np.zeros(16, np.float32)


def no_model(file: Any, _: Path) -> None:
    file.clear()


def only_an_optimizer(file: Any, _: Path) -> None:
    file.clear()
    file["optimizer_weights/m"] = np.zeros(3, np.float32)


HOSTILE: dict[Callable[[Any, Path], None], str] = {
    external_link: "links to other places or files",
    soft_link: "links to other places or files",
    external_storage: "claims more values",
    virtual: "claims more values",
    huge: "claims more values",
    compressed: "claims more values",
    one_for_many: "claims more values",
    in_a_circle: "no file of Keras",
    of_many_groups: "no file of Keras",
    of_text: "not floating-point numbers",
    of_integers: "holds int32",
    empty: "claims more values",
    twice: "two tensors of one name",
    no_model: "no weights in it",
    only_an_optimizer: "no weights in it",
}


@pytest.mark.parametrize("harm", HOSTILE, ids=lambda harm: harm.__name__)
def test_hostile_hdf5(harm: Callable[[Any, Path], None], weights: writers.Weights, tmp_path: Path) -> None:
    path, secret = tmp_path / "w.h5", tmp_path / "secret.h5"
    writers.write_keras_3(path, weights)
    writers.write_keras_3(secret, weights)
    with h5py.File(path, "r+") as file:
        harm(file, secret)
    tracemalloc.start()
    assert HOSTILE[harm] in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


def test_names_of_any_length_and_letters(weights: writers.Weights, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    writers.write_keras_3(path, weights)
    with h5py.File(path, "r+") as file:
        file["line\nbreak" * 1000] = np.zeros(1, np.float32)
    assert "1 tensor left over" in refused(path)
    with h5py.File(path, "r+") as file:
        file[b"\xff\xfe"] = np.zeros(1, np.float32)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.01, 0.5, 0.999999])
@pytest.mark.parametrize("name", ["w.h5", "model.keras"])
def test_truncated(name: str, part: float, weights: writers.Weights, tmp_path: Path) -> None:
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    (writers.write_keras_3 if name == "w.h5" else writers.write_archive)(whole, weights)
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(path)


def outcome(path: Path) -> str:
    """The error that reading gives; empty where there is none."""
    try:
        Keras().read(path)
    except HswishError as error:
        return str(error)
    return ""


def test_every_damage_is_a_line(tiny: writers.Weights, tmp_path: Path) -> None:
    """Random bytes changed in each kind of file: read as it stands, or refused in one line."""
    chance, read = random.Random(0), 0
    for number, write in enumerate(
        (writers.write_keras_2, writers.write_keras_3, writers.write_modern, writers.write_whole, writers.write_archive)
    ):
        whole, path = tmp_path / f"whole-{number}", tmp_path / f"damaged-{number}"
        write(whole, tiny)
        for _ in range(6):
            data = bytearray(whole.read_bytes())
            for _ in range(chance.choice((1, 3, 30))):
                data[int(len(data) * chance.random() ** 2)] = chance.randrange(256)
            path.write_bytes(data)
            message = outcome(path)
            assert "\n" not in message
            assert str(path) in message or not message
            read += not message
    assert 0 < read < 30  # damage was done, and not only to the first byte


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.h5")
    assert "is a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.h5")
    assert "not a regular file" in refused(tmp_path / "pipe.h5")


# --- Archives ------------------------------------------------------------------------------


def test_no_code_of_an_archive_is_run(weights: writers.Weights, tmp_path: Path) -> None:
    """Keras would run the function of a Lambda layer; here only names and numbers are looked at."""
    mark = tmp_path / "executed"
    code = compile(f"open({str(mark)!r}, 'w')", "x", "exec")
    function = {"class_name": "__lambda__", "config": {"code": base64.b64encode(marshal.dumps(code)).decode()}}
    layers = [{"class_name": "Lambda", "module": "os", "config": {"function": function, "batch_shape": function}}]
    path = tmp_path / "model.keras"
    writers.write_archive(path, weights, {"module": "os", "class_name": "system", "config": {"layers": layers}})
    check_round_trip(convert("keras", path), "keras", weights)
    assert not mark.exists()


@pytest.mark.parametrize("config", ["", "{", "[]", "[" * 100_000, '{"config": {"layers": []}}', '{"config": [1]}'])
def test_a_configuration_that_is_none(config: str, weights: writers.Weights, tmp_path: Path) -> None:
    """The weights alone say which network it is."""
    writers.write_archive(tmp_path / "model.keras", weights, config)
    assert convert("keras", tmp_path / "model.keras").preprocess.height == 224


def test_archives_that_are_none(weights: writers.Weights, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({}))
        archive.writestr("model.weights.h5", bytes(2**26))
    assert "unpacks to more than it can hold" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", bytes(2**10))
    assert "lacks" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(2**10))
    assert "truncated or damaged" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", bytes(2**10))
    assert "damaged" in refused(path)
    writers.write_archive(path, weights, method=zipfile.ZIP_DEFLATED)  # packed again by somebody: still the same
    check_round_trip(convert("keras", path), "keras", weights)
