from __future__ import annotations

from pathlib import Path

import pytest

import hswish.runtime.engine as engine_module
from hswish.runtime import Predictor, open_engine
from hswish.spec.errors import MissingPackageError, ModelFileError, OptionError


class Entry:
    """Stands in for an installed entry point."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value

    def load(self) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, colour_engine, tmp_path: Path) -> Path:
    """An engine for `.colours`, and one whose package is missing; returns a file of the first."""
    entries = [Entry("a-missing", ModuleNotFoundError("no", name="rocket")), Entry("colours", colour_engine)]
    monkeypatch.setattr(engine_module, "entry_points", lambda group: entries)
    path = tmp_path / "model.colours"
    path.write_text("classification")
    return path


def test_the_engine_that_knows_the_ending_opens_the_file(installed: Path) -> None:
    assert open_engine(installed).description.task == "classification"
    assert Predictor(str(installed), engine="colours").task == "classification"
    upper = installed.rename(installed.with_suffix(".COLOURS"))
    assert open_engine(upper).description.task == "classification"


def test_a_missing_package_is_named_when_it_may_be_the_one_needed(installed: Path) -> None:
    other = installed.rename(installed.with_suffix(".other"))
    with pytest.raises(MissingPackageError, match="needs the package rocket"):
        open_engine(other)
    with pytest.raises(MissingPackageError, match=r"hswish\[a-missing\]"):
        open_engine(other, engine="a-missing")


def test_wrong_names_are_explained(installed: Path) -> None:
    with pytest.raises(OptionError, match="did you mean colours"):
        open_engine(installed, engine="colour")
    with pytest.raises(ModelFileError, match="no such model file"):
        open_engine(installed.with_name("gone.colours"))
    with pytest.raises(ModelFileError, match="is a folder"):
        open_engine(installed.parent)


@pytest.mark.parametrize(
    ("file", "engine", "said"),
    [
        (
            "m.onnx",
            "litert",
            "litert engine runs .tflite files, not .onnx; leave the engine out, or make it onnx",
        ),
        ("m.ONNX", "torch", "torch engine runs .safetensors files, not .onnx; leave the engine out"),
        ("m.tflite", "openvino", "openvino engine runs .onnx and .xml files, not .tflite"),
        ("m.int8.safetensors", "torch", "not .int8.safetensors; leave the engine out, or make it native"),
    ],
)
def test_a_file_for_another_engine_is_not_called_damaged(file: str, engine: str, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"x")
    for opening in (open_engine, Predictor):
        with pytest.raises(OptionError) as caught:
            opening(tmp_path / file, engine)
        assert str(caught.value).startswith(f"{tmp_path / file}: the ")
        assert said in str(caught.value)


def test_an_engine_of_another_package_is_told_which_files_are_not_its_own(
    installed: Path, monkeypatch: pytest.MonkeyPatch, colour_engine
) -> None:
    entries = [Entry("colours", colour_engine), Entry("onnxruntime", None)]
    monkeypatch.setattr(engine_module, "entry_points", lambda group: entries)
    with pytest.raises(OptionError, match=r"colours engine runs \.colours files, not .* make it onnxruntime"):
        open_engine(installed.rename(installed.with_suffix(".onnx")), "colours")
    (installed.with_suffix(".odd")).write_text("classification")  # nobody's ending: whoever is asked tries it
    assert open_engine(installed.with_suffix(".odd"), "colours").description.task == "classification"


def test_an_unknown_ending_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch, colour_engine) -> None:
    monkeypatch.setattr(engine_module, "entry_points", lambda group: [Entry("colours", colour_engine)])
    with pytest.raises(ModelFileError, match=r"no engine here opens \.h5 files"):
        open_engine(installed.rename(installed.with_suffix(".h5")))
