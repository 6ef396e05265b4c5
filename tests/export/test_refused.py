"""A runtime that refuses what an export just wrote: the user's path and the runtime's reason, nothing of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from hswish.data import open_data
from hswish.export import export
from hswish.export.formats import writer
from hswish.export.int8 import Int8Settings, export_int8
from hswish.spec.errors import HswishError
from tests.contract.networks import CLASSES, network, pictures

PACKAGES = {"onnx": "onnx", "openvino": "openvino", "litert": "ai_edge_litert"}
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "litert"}


def cut(path: Path) -> None:
    """Something that a runtime refuses, as it would a step that it does not know."""
    if path.suffix == ".tflite":  # with the class names at its end, and nothing where the operators are
        content = bytearray(path.read_bytes())
        content[len(content) // 4 : -4000] = bytes(len(content) - len(content) // 4 - 4000)
        path.write_bytes(content)
    else:
        path.write_bytes(path.read_bytes().replace(b"Conv", b"Cnov"))


@pytest.fixture(params=RUNTIMES)
def format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A format whose files come out such that its runtime does not take them."""
    pytest.importorskip(PACKAGES[request.param])
    kind = type(writer(request.param))
    write = kind.write

    def write_and_spoil(self, job, path: Path) -> None:
        write(self, job, path)
        cut(path)

    monkeypatch.setattr(kind, "write", write_and_spoil)
    return request.param


def assert_plain(error: HswishError, target: Path) -> None:
    text = str(error)
    assert text.startswith(f"{target}: ")
    assert ".export-" not in text.replace(str(target), "")
    assert "damaged" not in text
    assert "export it again" not in text
    assert "\n" not in text
    assert not list(target.parent.iterdir())


def test_a_refusal_names_the_users_path(format: str, tmp_path: Path) -> None:
    target = tmp_path / f"net{writer(format).suffix}"
    with pytest.raises(HswishError) as caught:
        export(network("mobilenet_v3_small"), [format], tmp_path / "net", pictures(1))
    assert_plain(caught.value, target)
    if "needs the operator" not in str(caught.value):
        assert f"{RUNTIMES[format]} here refuses the {format} file that hswish just wrote (" in str(caught.value)


def test_a_refusal_in_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    for index, picture in enumerate(pictures(18)):
        for split in ("train", "val"):
            path = tmp_path / "data" / split / CLASSES[index % len(CLASSES)] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    kind = type(writer("onnx"))
    write = kind.write

    def write_and_spoil(self, job, path: Path) -> None:
        write(self, job, path)
        if job.quantized is not None:
            path.write_bytes(path.read_bytes()[:-7])

    monkeypatch.setattr(kind, "write", write_and_spoil)
    settings = Int8Settings(source=open_data(str(tmp_path / "data")), allow_drop=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(HswishError, match="onnxruntime here refuses the onnx file that hswish just wrote") as caught:
        export_int8(network("mobilenet_v3_small"), ["onnx"], tmp_path / "out" / "net", settings, threads=1)
    assert_plain(caught.value, tmp_path / "out" / "net.int8.onnx")
