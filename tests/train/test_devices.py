"""Which of how many processes this is, as the environment says it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hswish.spec.errors import OptionError
from hswish.train.devices import Devices
from hswish.train.run_folder import RunFolder

TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "node1"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_NNODES": "2", "SLURM_LOCALID": "1"}


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in (*TORCHRUN, *SLURM, "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("more", [{}, {"RANK": "0"}, SLURM])
def test_several_processes_are_torchruns(monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    set_all(monkeypatch, {"WORLD_SIZE": "2", **more})
    with pytest.raises(OptionError, match=r"WORLD_SIZE is 2.*torchrun --nproc-per-node 2 -m hswish train"):
        Devices()


@pytest.mark.parametrize("values", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, SLURM, {"WORLD_SIZE": "1", **SLURM}])
def test_one_process_is_one(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    """In a job of Slurm's, too."""
    set_all(monkeypatch, values)
    devices = Devices()
    assert (devices.rank, devices.world_size, devices.leads) == (0, 1, True)


@pytest.mark.parametrize(
    ("values", "command"),
    [
        ({}, "hswish train"),
        ({**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, "hswish train"),
        ({**TORCHRUN, "WORLD_SIZE": "8"}, "torchrun --nproc-per-node 8 -m hswish train"),
        (
            TORCHRUN,
            "torchrun --nnodes 2 --rdzv-backend c10d --rdzv-endpoint node1:29500 --nproc-per-node 8 -m hswish train",
        ),
    ],
)
def test_a_run_goes_on_as_it_was_started(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], command: str) -> None:
    set_all(monkeypatch, values)
    assert RunFolder(Path("runs/my pets")).resume_command == f"{command} --resume 'runs/my pets'"


def test_fp16_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would compute in bfloat16 instead, without the loss scale that 16-mixed is about."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match=r"16-mixed needs a GPU.*--set precision=bf16-mixed"):
        Devices("16-mixed")
    assert Devices("bf16-mixed").scaler is None
