"""Files that are no model, through every command that opens one; none of them runs code."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import hswish
from hswish.spec.artifact import METADATA_KEY
from tests.cli.conftest import QUICK


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def rewrite(source: Path, target: Path, **changes: object) -> None:
    """`source` with keys of its description replaced."""
    data = source.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header["__metadata__"][METADATA_KEY]) | changes
    header["__metadata__"][METADATA_KEY] = json.dumps(document)
    text = json.dumps(header).encode()
    target.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def make_bad(kind: str, path: Path, good: Path) -> None:
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[:-100])
    elif kind == "cut in its header":
        path.write_bytes(good.read_bytes()[:500])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("I am no model\n" * 20)
    elif kind == "newer":
        rewrite(good, path, version=2)
    elif kind == "torch checkpoint":
        torch.save({"x": Payload(path.parent / "pwned")}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(path.parent / "pwned"), protocol=4))
    elif kind == "foreign":
        save_file({"x": np.zeros(3, np.float32)}, path)
    elif kind == "contradictory":
        rewrite(good, path, classes=["cat", "dog", "cow"])
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)


CONVERT = "hswish convert LIBRARY FILE -o OUT.safetensors"
PICKLED = (
    "a pickled PyTorch checkpoint, which could run code when opened; "
    f"another library's network becomes a hswish file with: {CONVERT}"
)
BAD = {
    "missing": "no such model file",
    "empty": "empty or truncated; make or fetch the model file again",
    "truncated": "truncated or damaged; make or fetch the model file again",
    "cut in its header": "not a hswish model (a .safetensors file is expected), or a damaged one",
    "text": "not a hswish model (a .safetensors file is expected)",
    "newer": "written by a newer hswish (file version 2, this one reads up to 1); upgrade with: pip install -U hswish",
    "torch checkpoint": PICKLED,
    "pickle": PICKLED,
    "foreign": f"made by another tool; if it is a known network: {CONVERT}",
    "contradictory": "3 class names for 2 outputs",
    "folder": "is a folder; name the",
    "pipe": "not a regular file",
}


@pytest.mark.parametrize("kind", BAD)
def test_refused_by_every_command(kind: str, made: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    path = tmp_path / "bad model.safetensors"
    make_bad(kind, path, classifier)
    data = made / "pictures"
    for arguments in (
        ("info", path),
        ("eval", path, data),
        ("predict", path, data),
        ("train", data, "-m", "mobilenet_v3_small", *QUICK, "-o", tmp_path / "run", "--weights", path),
    ):
        outcome = hswish_cli(*arguments)
        outcome.error(path, BAD[kind])
        assert not outcome.out
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_under_its_own_suffix(made: Path, tmp_path: Path, hswish_cli) -> None:
    path = tmp_path / "best.pth"
    torch.save({"x": Payload(tmp_path / "pwned")}, path)
    hswish_cli("info", path).error(path, "pickled PyTorch checkpoint")
    for command in ("eval", "predict"):
        hswish_cli(command, path, made / "pictures").error(
            path, "no engine here opens .pth files; a .safetensors model or an exported one", CONVERT
        )
    assert not (tmp_path / "pwned").exists()


def test_a_description_may_hold_anything(made: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    path = tmp_path / "odd.safetensors"
    for metrics, provenance in (
        ({"val": 3, "te\x1b[31mst": {"top1": float("nan"), "x": "y"}}, {"seed": "none", "data": "a\nb"}),
        ({"val": [1], "[/]": {"[bold]": 0.5}}, {"seed": -4, "[/red]": ["x"]}),
        ({}, {"seed": 1e999}),
    ):
        rewrite(classifier, path, metrics=metrics, provenance=provenance)
        hswish_cli("info", path).success()
        hswish_cli("eval", path, made / "pictures", "--workers", 0).success()
        told = hswish_cli("info", path, "--json").success().out

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        json.loads(told, parse_constant=refuse)


def test_weights_that_are_not_finite(made: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    path = tmp_path / "diverged.safetensors"
    model = hswish.load(classifier)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    hswish.save(model, path)
    for arguments in (("predict", path, made / "pictures"), ("eval", path, made / "pictures", "--workers", 0)):
        hswish_cli(*arguments).error(path, "outputs are not finite numbers", "train again with a lower learning rate")


def test_class_names_may_hold_anything(pictures: Path, tmp_path: Path, hswish_cli) -> None:
    for old, new in (("cat", "[red]:cat: ü"), ("dog", "%s \x1b[31m\n")):
        (pictures / old).rename(pictures / new)
    run = tmp_path / "run"
    hswish_cli("train", pictures, "-m", "mobilenet_v3_small", *QUICK, "-o", run).success()
    best = run / "best.safetensors"
    for outcome in (
        hswish_cli("eval", best, pictures, "--workers", 0).success(),
        hswish_cli("info", best).success(),
        hswish_cli("predict", best, pictures, "--top", 2, "-o", tmp_path / "drawn").success(),
    ):
        assert "[red]:cat: ü" in outcome.out
        assert r"%s \x1b[31m\n" in outcome.out
