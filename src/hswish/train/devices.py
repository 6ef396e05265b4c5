"""Where a run computes: one process, or one of several that torchrun started, by Lightning Fabric.

    torchrun --nproc-per-node 4 -m hswish train ...

Every process has the whole network and a share of each batch. Fabric moves tensors, adds up
gradients and scales half precision; what is here says who this process is, and agrees with the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from hswish.spec.errors import HswishError, OptionError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_LOST = ("closed by peer", "Connection reset", "Broken pipe", "NCCL", "Timed out", "Socket")


def started_by() -> str:
    """What stands before `hswish` in the command that started this run: `torchrun ... -m `, or nothing.

    Of several machines, each is started by this command; HOST:PORT is where they met, with torchrun's usual port.
    """
    if not _is_one_of_several():
        return ""
    local, size = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    place = ""
    if size > local:
        place = f"--nnodes {size // local} --rdzv-backend c10d --rdzv-endpoint {os.environ['MASTER_ADDR']}:29500 "
    return f"torchrun {place}--nproc-per-node {local} -m "


def _is_one_of_several() -> bool:
    """Whether torchrun has started this process beside others.

    Raises:
        OptionError: WORLD_SIZE speaks of others, but it was not torchrun who started this one.
    """
    size = os.environ.get("WORLD_SIZE", "").strip() or "1"
    if size.isdecimal() and int(size) <= 1:
        return False
    if not TorchElasticEnvironment.detect():
        raise OptionError(
            f"WORLD_SIZE is {size}, but this process was not started by torchrun and would train alone; start it by "
            f"`torchrun --nproc-per-node {size} -m hswish train ...`, or unset WORLD_SIZE"
        )
    return True


class LostProcess(HswishError):  # noqa: N818 - it says what happened
    """Another process of the run is gone; torchrun is about to end this one, too."""


class Devices:
    """The processes of a run; a context, so that they part in order.

    Attributes:
        fabric: Lightning's own handle.
        rank, world_size: which of how many processes this is.
        local_world_size: how many of them are on this machine.

    Raises:
        OptionError: the environment speaks of several processes, but torchrun has started none; or fp16 without a GPU.
    """

    def __init__(self, precision: Precision = "32-true") -> None:
        if precision == "16-mixed" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
            # Lightning would take bfloat16 in its place, without a loss scale, and hardly say so.
            raise OptionError(
                "precision=16-mixed needs a GPU, and there is none here; use --set precision=bf16-mixed "
                "(a run that began with 16-mixed goes on where there is a GPU)"
            )
        if torch.cuda.is_available():
            # Products in TF32, as torch has convolutions anyway; without a choice Lightning asks for one in every run.
            torch.set_float32_matmul_precision("high")
        several = _is_one_of_several()
        local = int(os.environ["LOCAL_WORLD_SIZE"]) if several else 1
        if several:
            strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment())
            nodes = int(os.environ["WORLD_SIZE"]) // local
            self.fabric = Fabric(devices=local, num_nodes=nodes, strategy=strategy, precision=precision)
            self.fabric.launch()
        else:
            # Alone, whatever a job of Slurm's around it may hold: Fabric would take its variables for its own.
            self.fabric = Fabric(accelerator="auto", devices=1, precision=precision, plugins=[LightningEnvironment()])
        self.rank, self.world_size, self.local_world_size = self.fabric.global_rank, self.fabric.world_size, local

    def __enter__(self) -> Devices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world_size > 1 and kind is None:  # after an error the others may not be there to part from
            dist.destroy_process_group()

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """What scales the loss of fp16, so that small gradients are not lost; None in other precisions."""
        scaler: torch.amp.GradScaler | None = getattr(self.fabric.strategy.precision, "scaler", None)
        return scaler

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    # ---------------------------------------------------------------- agreeing

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over the processes."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        return self.any_of([flag])[0]

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """For each of the `flags`, as many everywhere, whether it is set in any process."""
        if self.world_size == 1:
            return list(flags)
        counts: list[float] = self.total(torch.tensor(flags, dtype=torch.float32, device=self.device)).tolist()
        return [count > 0 for count in counts]

    def leaders(self, value: Any) -> Any:
        """The leading process's `value`."""
        return self.fabric.broadcast(value) if self.world_size > 1 else value

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value`, by rank."""
        values = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until every process is here."""
        if self.world_size > 1:
            dist.barrier()

    # ---------------------------------------------------------------- computing

    def set_up(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Both as Fabric runs them: on the device, in the precision, with the others."""
        network, optimizer = self.fabric.setup(network, optimizer)
        return network, optimizer

    def adding_up(self, network: nn.Module, more_to_come: bool) -> AbstractContextManager[Any]:
        """Context of a backward pass; gradients travel between processes after a step's last one only."""
        return self.fabric.no_backward_sync(network, enabled=more_to_come and self.world_size > 1)  # type: ignore[arg-type]

    def forget_step(self) -> None:
        """Leave out a step whose gradients are there: the loss scale of fp16 takes note of them, as it must of each."""
        if self.scaler is not None:
            self.scaler.update()


@contextmanager
def lost_processes(devices: Devices, remedy: str) -> Iterator[None]:
    """Turn the errors that the death of another process causes here into one clear line.

    Raises:
        LostProcess: the message ends in `remedy`.
    """
    try:
        yield
    except RuntimeError as error:
        if devices.world_size == 1 or not any(word in str(error) for word in _LOST):
            raise
        raise LostProcess(f"another process of this run has died; {remedy}") from error
