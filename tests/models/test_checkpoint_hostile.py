"""Files made to harm whoever opens them: each is refused, and none gets to run anything.

Every payload would create a file called `marker`; the first test shows that it would.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import resource
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hswish
from hswish.runtime import open_engine
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import HswishError, ModelFileError


class Payload:
    """Runs code when unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def payloads(marker: Path) -> dict[str, Payload]:
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, f"touch {marker}"),
        "exec": Payload(builtins.exec, code),
        "eval": Payload(builtins.eval, code),
    }


def pickles(marker: Path) -> dict[str, bytes]:
    return {
        f"{kind} protocol {protocol}": pickle.dumps({"state_dict": payload}, protocol)
        for kind, payload in payloads(marker).items()
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    }


def archives(marker: Path) -> dict[str, bytes]:
    """Pickles in the guises of torch and of archivers."""
    payload = payloads(marker)["exec"]
    made: dict[str, bytes] = {}
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save({"weight": payload}, buffer, _use_new_zipfile_serialization=zipped)
        made["torch zip" if zipped else "torch legacy"] = buffer.getvalue()
    raw = pickle.dumps(payload)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", raw)
    made["zip with data.pkl"] = buffer.getvalue()
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:
            member = tarfile.TarInfo("../pickle")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
        made[f"tar {mode}"] = buffer.getvalue()
    made["length, then a pickle"] = struct.pack("<Q", len(raw)) + raw
    return made


def documents(parts: Any, marker: Path) -> dict[str, bytes]:
    """Descriptions that ask for something else than a network of this size, or for code."""
    code = f"__import__('os').system('touch {marker}')"
    made: dict[str, bytes] = {
        "code as description": parts.described(code),
        "yaml as description": parts.described(f"!!python/object/apply:os.system ['touch {marker}']"),
        "pickle as description": parts.described(pickle.dumps(payloads(marker)["eval"], 0).decode("latin-1")),
        "nested description": parts.described("[" * 200_000),
        "nested objects": parts.described('{"a":' * 200_000),
        "number of a million digits": parts.described('{"version": ' + "9" * 1_000_000 + "}"),
    }

    def changed(label: str, **options: object) -> None:
        document = parts.document
        document["model"]["options"].update(options)
        made[label] = parts.described(document)

    changed("huge num_classes", num_classes=10**12)
    changed("huge head_channels", head_channels=10**12)
    changed("largest head_channels", head_channels=65536)
    changed("huge width_mult", width_mult=1e12)
    changed("largest width_mult", width_mult=16.0)
    changed("width_mult NaN", width_mult=float("nan"))
    changed("largest in_channels", in_channels=65536)
    changed("code as option", width_mult=code)
    changed("dunder option", **{"__class__": code, "__reduce__": code})
    for label, name in (
        ("path as model", "../../../etc/passwd"),
        ("module as model", "os.system"),
        ("code as model", code),
        ("list as model", ["mobilenet_v3_small"]),
    ):
        document = parts.document
        document["model"]["name"] = name
        made[label] = parts.described(document)
    for label, version in (("version NaN", float("nan")), ("version infinite", float("inf")), ("version true", True)):
        made[label] = parts.described({**parts.document, "version": version})
    made["code as version"] = parts.described({**parts.document, "version": code})
    return made


def headers(parts: Any, marker: Path) -> dict[str, bytes]:
    """Safetensors files whose frame lies."""
    code = f"__import__('os').system('touch {marker}')"
    first, second = [name for name in parts.header if name != "__metadata__"][:2]

    def entry(name: str, **changes: object) -> bytes:
        return parts.joined({**parts.header, name: {**parts.header[name], **changes}})

    start, end = parts.header[first]["data_offsets"]
    reduce_name = {**parts.header, "__reduce__": {**parts.header[first], "data_offsets": [0, 0], "shape": [0]}}
    text = json.dumps(parts.header)
    twice = text.replace(f'"{second}"', f'"{first}"', 1)
    assert twice != text
    return {
        **{
            f"header of {length} bytes": struct.pack("<Q", length) + b"{}"
            for length in (3, 100, 2**31, 2**40, 2**63, 2**64 - 1)
        },
        "huge length, real rest": struct.pack("<Q", 2**62) + parts.joined()[8:],
        "nested header": parts.joined(b"[" * 200_000),
        "nested header objects": parts.joined(b'{"a":' * 200_000),
        "code as header": parts.joined(code.encode()),
        "header not UTF-8": parts.joined(b'{"\xff\xfe": 1}'),
        "tensor called __reduce__": parts.joined(reduce_name),
        "code as tensor name": parts.joined({**reduce_name, code: reduce_name["__reduce__"]}),
        "code as dtype": entry(first, dtype=code),
        "negative offsets": entry(first, data_offsets=[-end, 0]),
        "offsets beyond the end": entry(first, data_offsets=[start, 2**62]),
        "offsets backwards": entry(first, data_offsets=[end, start]),
        "fractional offsets": entry(first, data_offsets=[float(start), float(end) + 0.5]),
        "overlapping offsets": entry(first, data_offsets=parts.header[second]["data_offsets"]),
        "huge shape": entry(first, shape=[2**62, 2**62]),
        "negative shape": entry(first, shape=[-8, 3, 3, -3]),
        "duplicate tensor": parts.joined(twice.encode()),
        "metadata list": parts.joined({**parts.header, "__metadata__": [code]}),
        "metadata number": parts.joined({**parts.header, "__metadata__": {METADATA_KEY: 1}}),
        "no metadata": parts.joined({key: value for key, value in parts.header.items() if key != "__metadata__"}),
    }


def test_the_payloads_are_live(tmp_path: Path) -> None:
    """Otherwise the rest of this file would prove nothing."""
    marker = tmp_path / "marker"
    for label, content in {**pickles(marker), "zip": b""}.items():
        if content:
            pickle.loads(content)
        else:
            torch.load(io.BytesIO(archives(marker)["torch zip"]), weights_only=False)
        assert marker.exists(), label
        marker.unlink()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".onnx", ""])
def test_nothing_in_a_hostile_file_is_run(suffix: str, parts: Any, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"hostile{suffix}"
    hostile = {**pickles(marker), **archives(marker), **documents(parts, marker), **headers(parts, marker)}
    assert len(hostile) >= 60
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for label, content in hostile.items():
        path.write_bytes(content)
        began = time.monotonic()
        with pytest.raises(ModelFileError) as caught:
            hswish.load(path)
        with pytest.raises(HswishError):
            open_engine(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: "), label
        assert message.isprintable(), label
        assert not marker.exists(), label
        assert time.monotonic() - began < 10, label
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 200_000


def test_a_pickle_is_called_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    made = archives(tmp_path / "marker")
    for content in (made["torch zip"], made["torch legacy"], pickle.dumps({"a": 1}, 4)):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="pickled PyTorch checkpoint, which could run code"):
            hswish.load(path)


def test_code_in_names_stays_text(parts: Any, tmp_path: Path) -> None:
    """Class names, metrics and provenance may be any text: they are kept and never evaluated."""
    marker, path = tmp_path / "marker", tmp_path / "model.safetensors"
    code = f"__import__('os').system('touch {marker}')"
    document = parts.document
    document["classes"] = [code, "{0.__class__}", "%s\n$(touch marker)"]
    document["provenance"] = {"__reduce__": code}
    path.write_bytes(parts.described(document))
    model = hswish.load(path)
    assert list(model.classes) == document["classes"]
    assert model.description.provenance == document["provenance"]
    assert not marker.exists()


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "gone.safetensors"):
        with pytest.raises(ModelFileError):
            hswish.load(path)
