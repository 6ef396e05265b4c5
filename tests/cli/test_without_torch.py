"""A device has no torch: predicting, evaluating and timing exported files where its import fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hswish.export import export
from hswish.models.checkpoint import save
from tests.contract.networks import CLASSES, network, pictures

pytest.importorskip("onnx")

# What a device lacks, and what only training needs.
ABSENT = ("torch", "torchvision", "lightning_fabric", "albumentations", "cv2", "sklearn", "matplotlib", "onnx")
DEVICE = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Absent())
from hswish.cli import run
status = run(sys.argv[1:])
assert not set({ABSENT!r}) & set(sys.modules), "loaded all the same"
raise SystemExit(status)
"""
PACKAGES = {"litert": "ai_edge_litert"}


def on_a_device(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DEVICE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier and a segmenter in every format, and data for both."""
    made = tmp_path_factory.mktemp("device")
    formats = ["onnx", "openvino", "litert", "ncnn"]
    save(network("mobilenet_v3_small"), made / "labels.safetensors")
    export(network("mobilenet_v3_small"), formats, made / "labels", pictures(1), threads=1)
    export(network("lraspp_mobilenet_v3_small"), formats, made / "masks", pictures(1), threads=1)
    (made / "scenes" / "classes.txt").parent.mkdir()
    (made / "scenes" / "classes.txt").write_text("\n".join(CLASSES))
    for index, picture in enumerate(pictures(6)):
        for path, kept in (
            (made / "pictures" / "val" / CLASSES[index % 3] / f"{index}.png", picture),
            (made / "scenes" / "images" / "val" / f"{index}.png", picture),
            (made / "scenes" / "masks" / "val" / f"{index}.png", picture.convert("L").point(lambda v: v // 86)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            kept.save(path)
    return made


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite", ".ncnn.param"])
@pytest.mark.parametrize(("stem", "data", "figure"), [("labels", "pictures", "top1"), ("masks", "scenes", "miou")])
def test_a_device_model_is_measured(
    folder: Path, tmp_path: Path, suffix: str, stem: str, data: str, figure: str
) -> None:
    pytest.importorskip({".xml": "openvino", ".tflite": "ai_edge_litert", ".ncnn.param": "ncnn"}.get(suffix, "onnx"))
    from hswish.data import open_data
    from hswish.evaluate import evaluate
    from hswish.runtime import open_engine

    model = folder / f"{stem}{suffix}"
    done = on_a_device("eval", model, folder / data, "--suspects", 2, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    wanted = evaluate(open_engine(model), open_data(folder / data), "val").to_dict()
    found = json.loads(done.stdout)
    assert found["count"] == 6
    assert found[figure] == wanted[figure]
    assert found["confusion"] == wanted["confusion"]
    assert (tmp_path / "suspects.json").is_file()
    done = on_a_device("predict", model, folder / "pictures", "--out", tmp_path / "drawn", "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert len(list((tmp_path / "drawn").rglob("*.overlay.png"))) == 6


def test_speed_and_accuracy_in_one_table(folder: Path) -> None:
    model, data = folder / "labels.onnx", folder / "pictures"
    done = on_a_device("bench", model, "--engine", "onnxruntime", "--runs", 2, "--threads", 1, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert 0 <= row["accuracy"] <= 1


def test_what_a_device_cannot_do_names_the_extra(folder: Path, tmp_path: Path) -> None:
    model, data = folder / "labels.onnx", folder / "pictures"
    for arguments, extra in (
        (("eval", folder / "labels.safetensors", data, "--engine", "torch"), "train"),
        (("eval", model, "digits"), "train"),
        (("eval", model, data, "--confusion", tmp_path / "confusion.png"), "plot"),
        (("train", data, "--model", "mobilenet_v3_small", "--out", tmp_path / "run"), "train"),
        (("export", folder / "labels.safetensors", "--format", "onnx", "--data", data), "train"),
    ):
        done = on_a_device(*arguments)
        assert done.returncode == 2, arguments
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("error: "), done.stderr
        assert f"pip install 'hswish[{extra}]'" in last
