"""Two processes on one machine, started by torchrun: the run of one, and a death that is survived."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hswish.data import open_data
from hswish.evaluate import evaluate
from hswish.models import DescribedModule, create_model, save
from hswish.models.engine import TorchEngine
from hswish.train.run_folder import RunFolder
from tests.train.test_survival import assert_same_run

SCRIPT = """
import json, os, sys, torch
from pathlib import Path
from hswish.spec.errors import HswishError
from hswish.train import Recipe, Reporter, resume, train
torch.set_num_threads(1)
rank, out = int(os.environ.get("RANK", 0)), Path(sys.argv[2])
if rank:
    def watch(event, about):
        if event == "open" and isinstance(about[0], str) and about[0].startswith(str(out)) and about[2] & 3:
            print("WROTE", about[0], flush=True)
    sys.addaudithook(watch)
class Steps(Reporter):
    def note(self, text): print(text, flush=True)
    def step(self, pictures, loss, lr): print(f"step {os.getpid()} {loss!r}", flush=True)
if rank:
    print("other", os.getpid(), flush=True)
try:
    if (out / "config.json").exists():
        resume(out, reporter=Steps())
    else:
        model, changes = sys.argv[3], json.loads(sys.argv[4])
        options = {"recipe": Recipe(), "changes": changes, "width_mult": 0.35, "workers": 0}
        train(sys.argv[1], model, out=out, reporter=Steps(), **options)
except HswishError as error:
    sys.exit(f"rank {rank}: {error}")
"""
PLAIN = {
    "epochs": 3, "batch_size": 10, "height": 96, "optimizer": "sgd", "lr": 0.01, "dropout": 0.0, "ema_decay": 0.9,
    "warmup_epochs": 0.5, "augment.mirror": 0.5,
}  # fmt: skip


def start(processes: int, data: Path, out: Path, model: str, changes: dict[str, Any]) -> subprocess.Popen[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--no-python"]
    command = [sys.executable, "-c", SCRIPT, str(data), str(out), model, json.dumps(changes)]
    return subprocess.Popen(
        command if processes == 1 else [sys.executable, *launch, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(processes: int, data: Path, out: Path, model: str = "mobilenet_v3_small", **changes: Any) -> str:
    process = start(processes, data, out, model, {**PLAIN, **changes})
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return said


def losses(said: str) -> list[float]:
    return [float(line.split()[2]) for line in said.splitlines() if line.startswith("step")]


NORMS = """
import copy, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from hswish.models import create_model
from hswish.train.kernels.global_norm import with_global_norms
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
alone = create_model("mobilenet_v3_small", num_classes=3, width_mult=0.35, dropout=0.0).double().train()
shared = copy.deepcopy(alone)
with_global_norms(shared, torch.device("cpu"))
pictures, labels = torch.randn(6, 3, 64, 64).double(), torch.tensor([0, 1, 2, 0, 1, 2])
torch.nn.functional.cross_entropy(alone(pictures), labels).backward()
together = DistributedDataParallel(shared)
answer = together(pictures[rank::2])
(torch.nn.functional.cross_entropy(answer, labels[rank::2], reduction="sum") / 3).backward()
assert shared.state_dict().keys() == alone.state_dict().keys()
for (name, ours), theirs in zip(alone.named_buffers(), shared.buffers(), strict=True):
    assert torch.allclose(ours, theirs, rtol=1e-9), name
largest = max(weight.grad.abs().max() for weight in alone.parameters())
for (name, ours), theirs in zip(alone.named_parameters(), shared.parameters(), strict=True):
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9 * largest), name
dist.destroy_process_group()
"""


def test_the_package_can_be_started_by_name() -> None:
    """As `torchrun -m hswish` does."""
    done = subprocess.run([sys.executable, "-m", "hswish", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "train" in done.stdout


def test_global_batch_norm_is_batch_norm_of_the_global_batch() -> None:
    """In double precision, where no rounding hides a mistake: statistics and the gradient of every weight."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python", sys.executable]
    done = subprocess.run([sys.executable, *launch, "-c", NORMS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PAIRS = {
    "batch_size": 2, "accumulate": 2, "lr": 1e-3, "loss.auxiliary": 0.4, "loss.stride": 2, "bn_batches": 2,
    # With seed 0 one value is 6e-10 off the mean of its channel, so near to a ReLU's kink that the order of a sum
    # decides on which side it is, and with it a hundredth of a gradient.
    "seed": 2,
}  # fmt: skip
HELD = {"held": True, "width": 96, "augment.policy": "trivial", "augment.erase": 0.5}


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("mobilenet_v3_small", {"distill.weight": 0.5}),
        pytest.param("mobilenet_v3_small", HELD, marks=pytest.mark.slow),
        pytest.param("lraspp_mobilenet_v3_small", PAIRS, marks=pytest.mark.slow),
    ],
)
def test_two_processes_make_the_steps_of_one(
    model: str, changes: dict[str, Any], colours: Path, squares: Path, tmp_path: Path
) -> None:
    """Loss after loss and in the weights, within what another order of summing makes; and only the first one writes.

    30 pictures in three batches of ten, 8 scenes in pairs: each process has half of a batch, batch norm sees all of it.
    The classifier has a teacher, who answers each process for its half.
    """
    data = squares if model.startswith("lraspp") else colours
    if "distill.weight" in changes:
        teacher = create_model(model, num_classes=3, width_mult=0.35)
        assert isinstance(teacher, DescribedModule)
        teacher.describe(classes=open_data(data).classes)
        save(teacher, tmp_path / "teacher.safetensors")
        changes = {**changes, "distill.teacher": str(tmp_path / "teacher.safetensors")}
    one, two = (run(count, data, tmp_path / str(count), model, **changes) for count in (1, 2))
    curve = losses(one)
    assert len(curve) == (6 if model.startswith("lraspp") else 9)
    np.testing.assert_allclose(losses(two), curve, rtol=1e-3)
    np.testing.assert_allclose(losses(two)[:3], curve[:3], rtol=1e-5)
    ours, theirs = (torch.load(tmp_path / name / "last.ckpt", weights_only=True)["average"] for name in "12")
    for key, value in ours.items():
        assert torch.allclose(value.float(), theirs[key].float(), rtol=1e-2, atol=2e-3), key
    assert "WROTE" not in two
    assert {path.name for path in (tmp_path / "1").iterdir()} == {path.name for path in (tmp_path / "2").iterdir()}


def test_a_batch_without_a_readable_picture_is_left_out_everywhere(colours: Path, tmp_path: Path) -> None:
    """The processes add up their gradients batch by batch, also where one of them has nothing to add."""
    broken = colours / open_data(colours).items("train")[3].picture
    broken.write_bytes(broken.read_bytes()[:60])
    said = run(2, colours, tmp_path / "run", batch_size=2, accumulate=4, epochs=1)
    assert len(losses(said)) == 4  # 30 pictures in 15 batches


def test_bad_files_of_every_process_are_told_by_the_first(colours: Path, tmp_path: Path) -> None:
    """Three of thirty, so that each process meets one or more; the checkpoint knows all of them."""
    items = open_data(colours).items("train")
    broken = {str(colours / item.picture) for item in items[:3]}
    for path in broken:
        Path(path).write_bytes(b"broken")
    said = run(2, colours, tmp_path / "run", epochs=1)
    notes = [line.partition("skipped ")[2].partition(": ")[0] for line in said.splitlines() if "skipped" in line]
    assert sorted(notes) == sorted(broken)
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["at"]["bad"].keys() == broken


def test_a_contradiction_ends_every_process(squares: Path, tmp_path: Path) -> None:
    """A mask changes after the start: whoever meets it, all say the same."""
    script = {**PLAIN, "epochs": 1000, "batch_size": 2}
    process = start(2, squares, tmp_path / "run", "lraspp_mobilenet_v3_small", script)
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("step"))
    Image.new("L", (64, 48), 7).save(squares / "masks/train/0.png")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    words = f"{squares}/masks/train/0.png: value 7, but classes.txt names 2 classes"
    assert words in errors
    assert "has died" not in errors
    assert "go on with: torchrun --nproc-per-node 2 -m hswish train --resume" in errors


def test_a_death_ends_the_run_and_it_goes_on_from_there(colours: Path, tmp_path: Path) -> None:
    """The second process is killed: the first says so and ends; resumed, the run is the whole one's, bit for bit."""
    run(2, colours, tmp_path / "whole")
    process = start(2, colours, tmp_path / "parts", "mobilenet_v3_small", PLAIN)
    assert process.stdout is not None
    other = steps = 0
    for line in process.stdout:
        if line.startswith("other"):
            other = int(line.split()[1])
        steps += line.startswith("step")
        if steps == 5 and other:
            os.kill(other, signal.SIGKILL)
            break
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    # It may be torchrun's own SIGTERM that ends the first one, before it has said why.
    advice = "go on with: torchrun --nproc-per-node 2 -m hswish train --resume"
    told = f"rank 0: another process of this run has died; {advice}" in errors
    assert told or "Signal 15 (SIGTERM)" in errors
    assert "RuntimeError" not in errors
    run(2, colours, tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_folder_whose_run_lives_on_without_torchrun_is_left_alone(colours: Path, tmp_path: Path) -> None:
    """torchrun is killed, its processes are not: started again, the run says so in each process and writes nothing."""
    many = {**PLAIN, "epochs": 10_000}
    process = start(2, colours, tmp_path / "run", "mobilenet_v3_small", many)
    assert process.stdout is not None
    workers: set[int] = set()
    try:
        for line in process.stdout:
            if line.startswith(("other", "step")):
                workers.add(int(line.split()[1]))
            if len(workers) == 2:
                break
        process.kill()
        again = start(2, colours, tmp_path / "run", "mobilenet_v3_small", many)
        said, errors = again.communicate(timeout=300)
        assert again.returncode != 0
        assert not losses(said)
        words = f"{tmp_path / 'run'}: another hswish train (process "
        assert f"rank 0: {words}" in errors
        assert "RuntimeError" not in errors
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        process.communicate(timeout=300)
    with RunFolder(tmp_path / "run").alone():  # killed as well, they hinder nobody
        pass


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_each_picture_is_measured_once(name: str, processes: int, colours: Path, squares: Path) -> None:
    """The shares of a validation, joined, are the whole: also with more processes than pictures divide by."""
    source = open_data(squares if name.startswith("lraspp") else colours)
    torch.manual_seed(0)
    model = create_model(name, num_classes=len(source.classes), width_mult=0.35)
    assert isinstance(model, DescribedModule)
    model.describe(classes=source.classes)
    engine, seen, parts = TorchEngine(model), [], []

    def gather(part: Any) -> list[Any]:
        parts.append(part)
        return parts if len(parts) == processes else [part]

    def watch(index: int, logits: Any, truth: Any) -> None:
        seen.append(index)

    for rank in range(processes):
        joined = evaluate(
            engine, source, "val", workers=0, share=(rank, processes), gather=gather, watch=watch, batch_size=2
        )
    whole = evaluate(engine, source, "val", workers=0)
    assert sorted(seen) == list(range(len(source.splits["val"])))
    assert joined.summary() == pytest.approx(whole.summary())
    assert np.array_equal(joined.scores.confusion, whole.scores.confusion)


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_first(colours: Path, tmp_path: Path) -> None:
    """SIGTERM to torchrun, as a batch system sends it: all processes stop after the same step."""
    run(2, colours, tmp_path / "whole")
    process = start(2, colours, tmp_path / "parts", "mobilenet_v3_small", PLAIN)
    assert process.stdout is not None
    steps = 0
    for line in process.stdout:
        steps += line.startswith("step")
        if steps == 4:
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=300)
    assert "interrupted at epoch 2, step" in errors
    assert f"; go on with: torchrun --nproc-per-node 2 -m hswish train --resume {tmp_path / 'parts'}\n" in errors
    run(2, colours, tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
