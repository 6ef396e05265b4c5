"""A run that is interrupted or killed at any moment ends, bit for bit, as one that was not."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import hswish
from hswish.models import create_model
from hswish.train import Interrupted, Recipe, Reporter, resume, train
from hswish.train.interrupt import StopRequest
from tests.foreign_network import write_network

BASE = Recipe(epochs=3, batch_size=8, warmup_epochs=0.5, ema_decay=0.5, lr=5e-3, height=32)
TINY: dict[str, Any] = {"width_mult": 0.35, "workers": 0}
EVERYTHING = {
    "plain": {},
    "ema that warms up": {"ema_decay": 0.998},
    "accumulation": {"accumulate": 3, "batch_size": 2},
    "mixing, held, validated now and then": {
        "mixup": 0.2,
        "cutmix": 1.0,
        "held": True,
        "validate_epochs": 2,
        "augment.policy": "trivial",
    },
    "drop path, rmsprop, steps": {"drop_path": 0.3, "optimizer": "rmsprop", "schedule": "step"},
    "batch norms measured anew": {"bn_batches": 2},
    "early stop": {"epochs": 6, "patience": 1, "lr": 1e-7},
    "focal, bf16": {"loss.pixel": "focal", "precision": "bf16-mixed"},
}


class Stopper(Reporter):
    """Asks the run to stop after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.asked = False

    def step(self, pictures: int, loss: float, lr: float) -> None:
        self.left -= 1
        self.asked = self.left == 0


def stopping_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Stopper:
    stopper = Stopper(steps)
    asked = property(lambda self: stopper.asked, lambda self, value: None)
    monkeypatch.setattr(StopRequest, "asked", asked, raising=False)
    return stopper


def interrupted_run(after: int, monkeypatch: pytest.MonkeyPatch, data: Path, model: str, out: Path, **how: Any) -> None:
    """A run that is stopped after step `after`, then again after three more, then left to end."""
    stopper = stopping_after(after, monkeypatch)
    with pytest.raises(Interrupted):
        train(data, model, out=out, reporter=stopper, **how)
    stopper.left, stopper.asked = 3, False
    with pytest.raises(Interrupted):
        resume(out, reporter=stopper)
    stopper.left, stopper.asked = 10**9, False
    resume(out, reporter=stopper)


def rows(run: Path) -> list[dict[str, Any]]:
    """The log without its times."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "pictures_per_second")} for row in found]


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Best model, last state of everything, and log."""
    first, second = load_file(ours / "best.safetensors"), load_file(theirs / "best.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    states = [torch.load(run / "last.ckpt", weights_only=True) for run in (ours, theirs)]
    assert_equal(states[0], states[1], "state")
    assert rows(ours) == rows(theirs)


def assert_equal(ours: Any, theirs: Any, place: str) -> None:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), place
        for key in ours:
            assert_equal(ours[key], theirs[key], f"{place}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), place
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{place}.{index}")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), place
    else:
        assert ours == theirs, place


# --------------------------------------------------------------------------------------
# Stopped and resumed, with every part of training on
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_a_classifier(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    """Four steps an epoch (five with accumulation): within the first epoch, and at its end."""
    how: dict[str, Any] = {"recipe": BASE, "changes": changes, **TINY}
    train(colours, "mobilenet_v3_small", out=tmp_path / "whole", **how)
    for stop_at in (2, 4):
        parts = tmp_path / f"stopped at {stop_at}"
        with monkeypatch.context() as patch:
            interrupted_run(stop_at, patch, colours, "mobilenet_v3_small", parts, **how)
        assert_same_run(tmp_path / "whole", parts)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "loss.auxiliary": 0.4,
            "loss.stride": 2,
            "loss.region": "lovasz",
            "class_weights": "inverse_log",
            "augment.paste": 1.0,
            "cutmix": 1.0,
        },
        {"loss.pixel": "ohem", "accumulate": 2, "bn_batches": 2, "dropout": 0.3, "held": True, "augment.paste": 1.0},
    ],
)
def test_a_segmenter(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    how: dict[str, Any] = {"recipe": BASE, "changes": {"batch_size": 2, **changes}, **TINY}
    train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "whole", **how)
    interrupted_run(3, monkeypatch, squares, "lraspp_mobilenet_v3_small", tmp_path / "parts", **how)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_student_and_a_fine_tuned_network(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen first epoch, rates by depth, a teacher; both start files are gone when it is resumed."""
    start = {name: tmp_path / f"{name}.safetensors" for name in ("teacher", "weights")}
    how: dict[str, Any] = {"recipe": BASE, **TINY}
    care = {"finetune.freeze_epochs": 1, "finetune.depth_decay": 0.8, "distill.teacher": str(start["teacher"])}
    runs = [tmp_path / "whole", tmp_path / "parts"]
    for run in runs:
        for seed, file in enumerate(start.values()):
            torch.manual_seed(seed)
            model = create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35)
            model.describe(classes=("blue", "green", "red"))  # type: ignore[operator]
            hswish.save(model, file)
        how |= {"changes": care, "weights": start["weights"]}
        if run is runs[0]:
            train(colours, "mobilenet_v3_small", out=run, **how)
            continue
        stopper = stopping_after(2, monkeypatch)
        with pytest.raises(Interrupted):
            train(colours, "mobilenet_v3_small", out=run, reporter=stopper, **how)
        for file in start.values():
            file.unlink()
        stopper.asked = False
        resume(run)
    assert_same_run(*runs)
    assert hswish.load(runs[1] / "best.safetensors").description.provenance["teacher"] == "teacher.safetensors"


def test_a_teacher_of_another_library(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files, weights apart from the graph, are gone when the run is resumed."""
    files = [tmp_path / "big.onnx", tmp_path / "big.onnx.data"]
    weight = np.eye(3, dtype=np.float32)[::-1]
    how: dict[str, Any] = {"recipe": BASE, "changes": {"distill.teacher": str(files[0])}, **TINY}
    write_network(files[0], weight, apart=True)
    train(colours, "mobilenet_v3_small", out=tmp_path / "whole", **how)
    stopper = stopping_after(2, monkeypatch)
    with pytest.raises(Interrupted):
        train(colours, "mobilenet_v3_small", out=tmp_path / "parts", reporter=stopper, **how)
    for file in files:
        file.unlink()
    stopper.asked = False
    resume(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


# --------------------------------------------------------------------------------------
# Killed
# --------------------------------------------------------------------------------------

RECIPE = """
from hswish.train import Recipe
RECIPE = Recipe(epochs=4, batch_size=6, warmup_epochs=0.5, ema_decay=0.9, lr=5e-3, height=32, mixup=0.2, bn_batches=2)
"""
LAUNCHER = """
import os, sys, torch
from hswish.cli import main, training_progress
from hswish.train import fit, loop
torch.set_num_threads(1)
loop._CHECKPOINT_SECONDS = 0.0  # after every step, so that many kills meet a checkpoint being written
training_progress.TrainingProgress.step = lambda *about: print("step", flush=True)
for line in sys.stdin:  # each line the arguments of one command, in a process of its own that has torch loaded
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        sys.argv = ["hswish", *line.split()]
        main()
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Launcher:
    """Runs `hswish` commands and kills them; torch is loaded once, not for every life."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, command: str, kill_after: int | None = None, seconds: float = 0.0) -> int:
        """The exit status of `hswish command`, killed so many seconds after it has made so many steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        child, steps = int(self.process.stdout.readline()), 0
        while True:
            if steps == kill_after:
                time.sleep(seconds)
                with contextlib.suppress(ProcessLookupError):  # it may just have ended
                    os.kill(child, signal.SIGKILL)
                kill_after = None
            line = self.process.stdout.readline()
            if line.startswith("ended"):
                return int(line.split()[1])
            steps += line == "step\n"


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    assert launcher.process.stdin is not None
    launcher.process.stdin.close()
    assert launcher.process.wait() == 0


@pytest.mark.parametrize("kills", [6, pytest.param(150, marks=pytest.mark.slow)])
def test_killed_at_random_moments(colours: Path, tmp_path: Path, launcher: Launcher, kills: int) -> None:
    """SIGKILL, which nothing can catch, also while a file is written; resumed until it is done."""
    (tmp_path / "recipe.py").write_text(RECIPE)
    start = f"train {colours} -m mobilenet_v3_small --recipe {tmp_path}/recipe.py --width-mult 0.35 --workers 0 --out "
    assert launcher.run(f"{start}{tmp_path}/whole") == 0
    moments, number = random.Random(kills), 0
    while kills:
        number += 1
        out, status = tmp_path / f"parts{number}", 1
        while status:
            begun = (out / "config.json").exists()  # written last: before it there is nothing to resume
            command = f"train --resume {out}" if begun else f"{start}{out}"
            steps = moments.choice([0, 1, 2, 3]) if kills else None
            status = launcher.run(command, steps, moments.uniform(0, 0.1))
            assert status in (0, -signal.SIGKILL)
            kills -= status != 0
        assert_same_run(tmp_path / "whole", out)
        assert not list(out.glob(".*.part")), "half-written files are cleared away"
