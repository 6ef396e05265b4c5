"""`hswish export` and the data it is proved and measured on: bad pictures, odd names, the right split."""

from __future__ import annotations

import json
import shutil

import pytest

from hswish.export.int8 import Int8Settings
from tests.cli.conftest import QUICK, make_pictures

pytest.importorskip("onnx")


def test_a_picture_that_cannot_be_read_stops_no_export(hswish_cli, classifier, tmp_path):
    data = make_pictures(tmp_path / "set", count=10, splits=("train", "val"))
    (data / "val/cat/00.png").write_bytes(b"no picture")
    hswish_cli("export", classifier, "--data", data, "--out", tmp_path / "plain").success()
    flags = ("--int8", "--calibrate", data, "--allow-drop", "--out", tmp_path / "bytes")
    hswish_cli("export", classifier, "--format", "native", *flags).success()


def test_brackets_in_a_name_are_shown(hswish_cli, classifier, pictures, tmp_path):
    model = tmp_path / "best[bold red].safetensors"
    shutil.copy(classifier, model)
    done = hswish_cli("export", model, "--data", pictures, "--out", tmp_path / "out").success()
    assert "best[bold red].onnx" in done.out
    done = hswish_cli("bench", model, "--threads", 1, "--runs", 1).success()
    assert "best[bold red]" in done.out


def test_a_damaged_description_is_a_damaged_file(hswish_cli, classifier, pictures, tmp_path):
    hswish_cli("export", classifier, "--data", pictures, "--out", tmp_path).success()
    (file,) = tmp_path.glob("*.onnx")
    data = bytearray(file.read_bytes())
    data[data.rfind(b'"classes"') + 20] = 0xF4
    file.write_bytes(data)
    hswish_cli("predict", file, pictures).error("damaged")


def test_8_bits_are_measured_on_what_the_network_has_not_seen(hswish_cli, tmp_path, monkeypatch):
    """A seed other than 0 held other pictures back."""
    pictures = make_pictures(tmp_path / "set", count=20)
    flags = ("-m", "mobilenet_v3_small", *QUICK, "--seed", 7, "-o", tmp_path / "run")
    hswish_cli("train", pictures, *flags).success()
    seen = []
    measure = Int8Settings.__init__

    def note(self, **given):
        seen.append(given["source"])
        measure(self, **given)

    monkeypatch.setattr(Int8Settings, "__init__", note)
    flags = ("--format", "native", "--int8", "--calibrate", pictures, "--allow-drop", "--out", tmp_path / "device")
    hswish_cli("export", tmp_path / "run/best.safetensors", *flags).success()
    held = json.loads((tmp_path / "run/splits.json").read_text())["val"]
    assert {item.picture for item in seen[0].items("val")} == set(held)
