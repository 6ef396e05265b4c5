"""Disks that are full, places that cannot be written, runs that cannot be resumed: nothing is lost."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import hswish
from hswish.train.run_folder import RunFolder
from tests.cli.conftest import QUICK, command, environment
from tests.cli.test_bad_models import Payload


@pytest.fixture(scope="module")
def finished(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    from hswish.cli import run

    out = tmp_path_factory.mktemp("finished") / "run"
    arguments = ["train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", out]
    assert run([str(argument) for argument in arguments]) == 0
    return out


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """The test's own copy of a run, one epoch short of its end and sure to find that one better."""
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    config = json.loads((out / "config.json").read_text())
    config["recipe"]["epochs"] = 2
    (out / "config.json").write_text(json.dumps(config))
    state = torch.load(out / "last.ckpt", weights_only=True)
    torch.save({**state, "at": {**state["at"], "best": -1.0, "finished": False}}, out / "last.ckpt")
    return out


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Half of what is written to files with this in their name arrives, then the disk is full."""

    def fill(part: str) -> None:
        write, save = Path.write_bytes, Image.Image.save

        def write_bytes(self: Path, data: bytes) -> int:
            if part in self.name:
                write(self, bytes(data)[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(self, data)

        def save_picture(self: Image.Image, place: object, *arguments: object, **options: object) -> None:
            if part in str(place):
                raise OSError(errno.ENOSPC, "No space left on device")
            save(self, place, *arguments, **options)

        monkeypatch.setattr(Path, "write_bytes", write_bytes)
        monkeypatch.setattr(Image.Image, "save", save_picture)

    return fill


@pytest.mark.parametrize("name", ["best.safetensors", "last.ckpt"])
def test_a_full_disk_while_training(name: str, run_folder: Path, full_disk, hswish_cli, monkeypatch) -> None:
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    with monkeypatch.context():
        full_disk(name)
        line = hswish_cli("train", "--resume", run_folder).error(run_folder / name, "the disk is full; free some space")
        assert "cannot save" in line
        assert line.endswith(f"; go on with: hswish train --resume {run_folder}")
        monkeypatch.undo()
    assert (run_folder / name).read_bytes() == before[name]
    assert {path.name for path in run_folder.iterdir()} == before.keys()  # no half files
    hswish_cli("train", "--resume", run_folder).success()
    assert hswish.load(run_folder / "best.safetensors").description.metrics["val"]["epoch"] == 2
    assert len((run_folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_full_disk_while_predicting(made: Path, segmenter: Path, tmp_path: Path, full_disk, hswish_cli) -> None:
    arguments = ("predict", segmenter, made / "scenes" / "images", "-o", tmp_path / "drawn")
    hswish_cli(*arguments).success()
    before = {path.name: path.read_bytes() for path in (tmp_path / "drawn").iterdir()}
    full_disk("03.mask")
    outcome = hswish_cli(*arguments)
    outcome.error(tmp_path / "drawn" / "03.mask.png", "the disk is full; free some space and try again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "drawn").iterdir()} == before


def test_out_below_a_file(made: Path, classifier: Path, segmenter: Path, tmp_path: Path, hswish_cli) -> None:
    (tmp_path / "file").write_text("precious")
    words = "a file stands where a folder is needed; choose another place"
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", out).error(out, words)
        hswish_cli("predict", segmenter, made / "scenes" / "images", "-o", out).error(out, words)
    picture = tmp_path / "file" / "c.png"
    hswish_cli("eval", classifier, made / "pictures", "--workers", 0, "--confusion", picture).error(picture)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_is_not_writable(made: Path, segmenter: Path, tmp_path: Path, hswish_cli, monkeypatch) -> None:
    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    words = "the folder is not writable; choose another one"
    out = tmp_path / "run"
    hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", out).error(out, words)
    hswish_cli("predict", segmenter, made / "scenes" / "images", "-o", out).error(out, words)


# --------------------------------------------------------------------------------------
# Run folders
# --------------------------------------------------------------------------------------


def test_out_that_already_holds_a_run(made: Path, run_folder: Path, hswish_cli) -> None:
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    outcome = hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", run_folder)
    outcome.error(f"{run_folder}: already holds a run; go on with: hswish train --resume {run_folder}", "another --out")
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


def test_two_runs_in_one_folder(made: Path, run_folder: Path, tmp_path: Path, hswish_cli) -> None:
    """The second one names the folder and touches nothing, be it a new run or one that goes on."""
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    words = "another hswish train (process", "is at work in this folder; let it end, or stop it first"
    new = tmp_path / "new"
    new.mkdir()
    with RunFolder(run_folder).alone(), RunFolder(new).alone():
        hswish_cli("train", "--resume", run_folder).error(f"{run_folder}: ", *words)
        hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", new).error(f"{new}: ", *words)
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before
    assert not list(new.iterdir())
    hswish_cli("train", "--resume", run_folder).success()
    assert {path.name for path in run_folder.iterdir()} == before.keys()


def test_resume_of_what_is_no_run(tmp_path: Path, hswish_cli) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "gone", tmp_path / "file"):
        hswish_cli("train", "--resume", path).error(
            f"{path}: not a run folder (no config.json in it)", "given as --out"
        )


NOT_AN_OBJECT = '{"recipe": 3}'


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", NOT_AN_OBJECT, "{}", '{"data": 3, "recipe": {}}', "\xff"])
def test_a_damaged_config(text: str, run_folder: Path, hswish_cli) -> None:
    (run_folder / "config.json").write_text(text, encoding="latin-1")
    hswish_cli("train", "--resume", run_folder).error(run_folder / "config.json")


def test_a_config_of_other_times(run_folder: Path, hswish_cli) -> None:
    config = json.loads((run_folder / "config.json").read_text())
    config["recipe"]["epohcs"] = 3
    (run_folder / "config.json").write_text(json.dumps(config))
    hswish_cli("train", "--resume", run_folder).error(run_folder / "config.json", "'epohcs'; did you mean epochs")
    del config["recipe"]["epohcs"]
    (run_folder / "config.json").write_text(json.dumps({**config, "data": "gone"}))
    hswish_cli("train", "--resume", run_folder).error("gone: no such folder or zip; check the path")


def damage(kind: str, path: Path) -> None:
    data = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("nothing to see")
    elif kind == "code":
        torch.save({"epoch": 1, "x": Payload(path.parent / "pwned")}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"epoch": 1, "x": Payload(path.parent / "pwned")}))
    elif kind == "another dict":
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "another network":
        torch.save({**torch.load(path, weights_only=True), "body": {"x": torch.zeros(3)}}, path)
    elif kind == "half a checkpoint":
        torch.save({"epoch": 1}, path)


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "text", "code", "pickle", "another dict", "another network", "half a checkpoint"]
)
def test_a_damaged_or_hostile_checkpoint(kind: str, run_folder: Path, hswish_cli) -> None:
    damage(kind, run_folder / "last.ckpt")
    best = (run_folder / "best.safetensors").read_bytes()
    hswish_cli("train", "--resume", run_folder).error(run_folder / "last.ckpt")
    assert not (run_folder / "pwned").exists()
    assert (run_folder / "best.safetensors").read_bytes() == best


def test_a_refusal_is_one_line_for_people_too(run_folder: Path, tmp_path: Path) -> None:
    damage("pickle", run_folder / "last.ckpt")  # torch warns programmers of it
    done = subprocess.run(command("train", "--resume", run_folder), capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["error"]


def test_a_finished_run_says_so(finished: Path, tmp_path: Path, hswish_cli) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    best = (out / "best.safetensors").read_bytes()
    outcome = hswish_cli("train", "--resume", out)
    assert outcome.status == 0
    assert f"{out}: already finished after 1 epochs" in outcome.err
    assert (out / "best.safetensors").read_bytes() == best


def test_data_that_changed(pictures: Path, tmp_path: Path, hswish_cli) -> None:
    out = tmp_path / "run"
    hswish_cli("train", pictures, "-m", "mobilenet_v3_small", *QUICK, "-o", out).success()
    gone = pictures / "cat" / "00.png"
    gone.unlink()
    hswish_cli("train", "--resume", out).error(gone, "not in the data set any more; restore it or start a new run")
