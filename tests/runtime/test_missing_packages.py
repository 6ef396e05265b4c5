"""A runtime that cannot be imported: what is named is what is absent, and the extra named brings it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest

from hswish.runtime.exported import not_importable

REPOSITORY = Path(__file__).resolve().parents[2]
BEGINNINGS = {".pte": b"<\0\0\0ET12" + bytes(100), ".tflite": b"<\0\0\0TFL3" + bytes(100)}
"""Enough of a file for its engine to import all of the runtime."""
ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from hswish.cli import run
raise SystemExit(run(["predict", sys.argv[2], "picture.jpg", "--engine", sys.argv[3]]))
"""


def brought_by(extra: str) -> set[str]:
    """Distributions that `pip install 'hswish[EXTRA]'` brings, as those that are installed here tell."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    todo, found = [*project["dependencies"], *project["optional-dependencies"][extra]], set()
    while todo:
        name = re.match(r"[\w.-]+", todo.pop())[0].lower().replace("_", "-")
        if name not in found:
            found.add(name)
            with contextlib.suppress(PackageNotFoundError):  # as on a system that it is not for
                todo += [line for line in requires(name) or [] if "extra ==" not in line]
    return found


@pytest.mark.parametrize(
    ("module", "runtime", "engine", "file", "package", "extra"),
    [
        ("executorch", "executorch", "executorch", "m.pte", "executorch", "executorch"),
        ("torch", "executorch", "executorch", "m.pte", "torch", "executorch"),
        ("sympy", "executorch", "executorch", "m.pte", "sympy", "executorch"),
        ("ruamel", "executorch", "executorch", "m.pte", "ruamel.yaml", "executorch"),
        ("openvino", "openvino", "openvino", "m.xml", "openvino", "openvino"),
        ("onnxruntime", "onnxruntime", "onnxruntime", "m.onnx", "onnxruntime", "onnx"),
        ("ai_edge_litert", "ai_edge_litert", "litert", "m.tflite", "ai-edge-litert", "litert"),
        ("flatbuffers", "ai_edge_litert", "litert", "m.tflite", "flatbuffers", "litert"),
        ("ncnn", "ncnn", "ncnn", "m.param", "ncnn", "ncnn"),
        ("torch", "torch", "torch", "m.safetensors", "torch", "train"),
    ],
)
def test_what_is_absent_is_named(
    module: str, runtime: str, engine: str, file: str, package: str, extra: str, tmp_path: Path
) -> None:
    pytest.importorskip(runtime)
    (tmp_path / file).write_bytes(BEGINNINGS.get(Path(file).suffix, b"x"))
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, module, str(tmp_path / file), engine],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    wanted = f"error: opening {tmp_path / file} needs the package {package}: pip install 'hswish[{extra}]'\n"
    assert (done.returncode, done.stderr) == (2, wanted)
    assert package in brought_by(extra)


def test_a_runtime_that_is_there_and_does_not_load() -> None:
    try:
        try:
            raise ImportError("/lib/_C.so: undefined symbol:\n _ZN5torch")
        except ImportError as inner:
            raise ModuleNotFoundError("The prebuilt extension is not found. Please reinstall it.") from inner
    except ModuleNotFoundError as error:
        found = not_importable(error, "executorch", "executorch", "opening m.pte")
    assert str(found) == (
        "opening m.pte needs the package executorch (which is here, but does not load: /lib/_C.so: undefined symbol: "
        "_ZN5torch): pip install 'hswish[executorch]'"
    )
