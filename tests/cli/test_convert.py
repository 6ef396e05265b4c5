"""`hswish convert` as it is typed: in, out again, and every refusal in one line."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import pytest
import torch

import hswish
from hswish.models.adapters import export_file
from tests.cli.conftest import command, environment
from tests.cli.test_bad_models import Payload

SOURCE = "torchvision:mobilenet_v3_small"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """torchvision's Small with three classes, as its users save it."""
    model = hswish.create_model("mobilenet_v3_small", num_classes=3, width_mult=0.5, width_rule="torchvision")
    export_file(model, "torchvision", tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def test_there_and_back(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    lines = hswish_cli("convert", "torchvision", checkpoint, "-o", ours).success().out.splitlines()
    assert lines == [
        f"{SOURCE} from theirs.pth",
        "mobilenet_v3_small: 3 classes, width 0.5, output stride 32",
        "classes: 0, 1, 2",
    ]
    said = hswish_cli("convert", ours, "--to", "torchvision", "-o", back).success().out.splitlines()
    assert said == [SOURCE, "mobilenet_v3_small: 3 classes, width 0.5, output stride 32"]
    first, again = torch.load(checkpoint, weights_only=True), torch.load(back, weights_only=True)
    assert list(first) == list(again)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_converted_model_predicts(checkpoint: Path, made: Path, tmp_path: Path, hswish_cli) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\ncow\n")
    ours = tmp_path / "ours.safetensors"
    hswish_cli("convert", SOURCE, checkpoint, "-o", ours, "--classes", names).success()
    line = hswish_cli("predict", ours, made / "pictures" / "cat" / "00.png").success().out
    assert line.split()[1] in ("cat", "dog", "cow")


def test_json(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    ours = tmp_path / "ours.safetensors"
    outcome = hswish_cli("convert", SOURCE, checkpoint, "-o", ours, "--dilated", "--num-classes", 5, "--json").success()
    printed = json.loads(outcome.out)
    assert printed["options"]["output_stride"] == 16
    assert printed["classes"] == ["0", "1", "2", "3", "4"]
    assert printed["provenance"]["converted_from"]["new_classifier"] is True
    assert printed["preprocess"]["crop_fraction"] == 0.875
    info = json.loads(hswish_cli("info", ours, "--json").success().out)
    assert info["provenance"] == printed["provenance"]
    plain = tmp_path / "plain.safetensors"
    hswish_cli("convert", SOURCE, checkpoint, "-o", plain).success()
    back = hswish_cli("convert", plain, "--to", "torchvision", "-o", tmp_path / "b.pth", "--json").success()
    assert json.loads(back.out) == {
        "out": str(tmp_path / "b.pth"),
        "library": "torchvision",
        "network": "mobilenet_v3_small",
    }


def test_averaged_weights_are_said(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    state = torch.load(checkpoint, weights_only=True)
    averaged = {"n_averaged": torch.tensor(2), **{f"module.{name}": tensor for name, tensor in state.items()}}
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "model_ema": averaged}, path)
    ours = tmp_path / "ours.safetensors"
    assert "averaged weights" in hswish_cli("convert", "torchvision", path, "-o", ours).success().out
    assert "averaged weights" not in hswish_cli("convert", "torchvision", path, "-o", ours, "--no-ema").success().out


def test_wrong_arguments(checkpoint: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    ours = tmp_path / "x.safetensors"
    for arguments, words in (
        ((SOURCE, checkpoint), ["say where to write with -o"]),
        ((SOURCE, checkpoint, "-o", tmp_path / "x.pth"), ["x.pth", "a model file ends in .safetensors"]),
        ((checkpoint, "-o", ours), ["name a library and its file", "hswish convert torchvision"]),
        (("tochvision", checkpoint, "-o", ours), ["unknown library 'tochvision'", "did you mean torchvision"]),
        (("torchvision:mobilenet_v3", checkpoint, "-o", ours), ["did you mean mobilenet_v3_"]),
        ((SOURCE, checkpoint, "-o", ours, "--width-mult", 1), ["theirs.pth", "with width_mult 1.0", "another shape"]),
        ((SOURCE, checkpoint, "-o", ours, "--num-classes", 0), ["--num-classes", "greater than or equal to 1"]),
        ((SOURCE, tmp_path / "none.pth", "-o", ours), ["none.pth: no such file"]),
        ((SOURCE, "hf://me/pets", "-o", ours), ["hf://me/pets: FILE is a file on this machine; fetch it first"]),
        ((SOURCE, checkpoint, "-o", ours, "--classes", tmp_path / "none.txt"), ["none.txt: cannot be read"]),
        ((classifier, "--to", "keras2", "-o", ours), ["unknown library 'keras2'"]),
        ((classifier, "--to", "torchvision", "-o", ours, "--width-mult", 1), ["--to takes a model of ours alone"]),
        ((classifier, checkpoint, "--to", "torchvision", "-o", ours), ["--to takes a model of ours alone"]),
        ((classifier, "--to", "torchvision", "-o", tmp_path / "x.h5"), ["x.h5", "ends in .pth or .pt"]),
        ((classifier, "--to", "torchvision", "-o", ours), ["torchvision cannot express this network", "width_rule"]),
        ((checkpoint, "--to", "torchvision", "-o", ours), ["theirs.pth"]),
    ):
        outcome = hswish_cli("convert", *arguments)
        outcome.error(*words)
        assert not outcome.out
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("x.", ".x"))]


def test_the_file_itself_is_not_written_over(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    """A library's file has no room for class names and preprocessing, nor ours for what a training script keeps."""
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    hswish_cli("convert", SOURCE, checkpoint, "-o", ours).success()
    hswish_cli("convert", ours, "--to", "torchvision", "-o", theirs).success()
    link = tmp_path / "link.safetensors"
    link.symlink_to(ours)
    before = ours.read_bytes(), theirs.read_bytes()
    for arguments in (
        (ours, "--to", "torchvision", "-o", ours),
        (ours, "--to", "torchvision", "-o", link),
        (SOURCE, theirs, "-o", theirs),
    ):
        hswish_cli("convert", *arguments).error(arguments[-1], "is the file to convert", "write to another one")
    assert (ours.read_bytes(), theirs.read_bytes()) == before


@pytest.mark.parametrize(("library", "ending"), [("torchvision", "pth"), ("keras", "h5"), ("keras", "weights.h5")])
def test_a_full_disk(library: str, ending: str, tmp_path: Path) -> None:
    """The writers of torch and h5py hide it or end the process: no file may grow beyond 64 kB here."""
    rule = {"torchvision": {"width_rule": "torchvision"}, "keras": {"width_rule": "keras", "padding": "same"}}[library]
    model = hswish.create_model("mobilenet_v3_small", num_classes=2, width_mult=0.25, **rule)
    hswish.save(model, tmp_path / "m.safetensors")
    out = tmp_path / f"out.{ending}"
    out.write_bytes(b"before")
    done = subprocess.run(
        command("convert", tmp_path / "m.safetensors", "--to", library, "-o", out),
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: cannot save ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cwd", "m.safetensors", out.name]
    assert out.read_bytes() == b"before"


def test_the_number_of_names(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    ours = tmp_path / "ours.safetensors"
    refused = hswish_cli("convert", SOURCE, checkpoint, "-o", ours, "--classes", names)
    refused.error("2 class names for 3 outputs", "add --num-classes 2")
    assert not ours.exists()
    outcome = hswish_cli("convert", SOURCE, checkpoint, "-o", ours, "--classes", names, "--num-classes", 2).success()
    assert "a new classifier, to be trained" in outcome.out
    assert hswish.load(ours).classes == ("cat", "dog")


def test_another_librarys_file(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    refused = hswish_cli("convert", "timm:mobilenetv3_small_050", checkpoint, "-o", tmp_path / "x.safetensors")
    refused.error("theirs.pth: does not fit timm:mobilenetv3_small_050", f"this looks like {SOURCE}")


def test_files_that_are_refused(checkpoint: Path, tmp_path: Path, hswish_cli) -> None:
    ours = tmp_path / "x.safetensors"
    half = tmp_path / "half.pth"
    half.write_bytes(checkpoint.read_bytes()[:100_000])
    hswish_cli("convert", SOURCE, half, "-o", ours).error("half.pth: truncated or damaged; fetch it again")
    evil = tmp_path / "evil.pth"
    torch.save({"model": Payload(tmp_path / "pwned")}, evil)
    hswish_cli("convert", SOURCE, evil, "-o", ours).error("evil.pth: holds more than weights", "could run code")
    assert not (tmp_path / "pwned").exists()
    assert not ours.exists()
