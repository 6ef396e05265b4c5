"""Training steps a second on a GPU, beside timm's network in timm's way of training.

    python -m benchmarks.training_gpu [--rounds N] [--case NAME] [--json]      (2 minutes; half is compiling)

`timm` is timm's `mobilenetv3_large_100` or `_small_100` as its script trains with `--amp --amp-dtype bfloat16
--channels-last`: autocast, SGD, one kernel after the other. `torch` is hswish's network by `hswish train` with
`--set kernels=torch`, `hswish` by its own kernels and the recorded step, both in bfloat16. One batch of noise lies on
the GPU: this is the network alone. Contenders take turns in one process; every loss is checked. A peer that is not
installed is left out; timm's weights are drawn afresh.

Measured on one NVIDIA H200 (torch 2.11, CUDA 13, Triton 3.6), one turn of 10 steps each, by the script that
this file was made of, before the sums of batch norm were spread over twice as many programs:

    case        contender     pictures/s   x timm
    large-224   timm               7,351     1.00
    large-224   hswish            10,421     1.42
    large-32    hswish            30,458
    small-32    hswish            49,519
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.startup import machine, versions

Step = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network at one input size."""

    name: str
    model: str
    timm: str | None
    size: int
    batch_size: int
    num_classes: int
    options: tuple[tuple[str, Any], ...] = ()


CASES = (
    Case(name="large-224", model="mobilenet_v3_large", timm="mobilenetv3_large_100", size=224, batch_size=256,
         num_classes=1000),
    Case(name="small-224", model="mobilenet_v3_small", timm="mobilenetv3_small_100", size=224, batch_size=256,
         num_classes=1000),
    Case(name="large-32", model="mobilenet_v3_large", timm=None, size=32, batch_size=256, num_classes=10,
         options=(("keep_size", 2),)),
    Case(name="small-32", model="mobilenet_v3_small", timm=None, size=32, batch_size=256, num_classes=10,
         options=(("keep_size", 2),)),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one contender did; the fields of `--json`."""

    case: str
    contender: str
    pictures_per_second: float
    least: float
    most: float
    ratio: float | None
    """to timm's, where timm was there"""


def contenders(case: Case, device: torch.device) -> dict[str, Step]:
    """A step of each that is installed, which gives its loss."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(case.batch_size, 3, case.size, case.size, generator=generator).to(device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, case.num_classes, (case.batch_size,), generator=generator).to(device)
    steps = {name: ours(case, pictures, labels, name) for name in ("torch", "hswish")}
    if case.timm is not None:
        with contextlib.suppress(ImportError):
            steps = {"timm": timms(case, pictures, labels), **steps}
    return steps


def timms(case: Case, pictures: torch.Tensor, labels: torch.Tensor) -> Step:
    """Raises ImportError: no timm here."""
    import timm  # type: ignore[import-not-found, unused-ignore]

    device = pictures.device
    model = timm.create_model(case.timm, num_classes=case.num_classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05, momentum=0.9, nesterov=True)

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16):
            loss = F.cross_entropy(model(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def ours(case: Case, pictures: torch.Tensor, labels: torch.Tensor, name: str) -> Step:
    """`hswish train`'s own step."""
    from hswish.data import Batch
    from hswish.models import create_model
    from hswish.train import Recipe
    from hswish.train.devices import Devices
    from hswish.train.learner import Learner

    recipe = Recipe(
        optimizer="sgd", lr=0.05, clip_norm=0.0, ema_decay=0.0, label_smoothing=0.0, precision="bf16-mixed"
    ).with_changes({"kernels": "auto" if name == "hswish" else "torch"})
    torch.manual_seed(0)
    model = create_model(case.model, num_classes=case.num_classes, **dict(case.options))
    learner = Learner(model, recipe, Devices(recipe.precision))  # type: ignore[arg-type]
    learner.begin_epoch(0)
    batch = Batch(pictures, labels, torch.arange(len(labels)), ())
    return lambda: learner.step([batch], 0, recipe.lr).loss


def measure(case: Case, rounds: int, steps: int, device: torch.device) -> list[Row]:
    """Let them take turns.

    Raises:
        ArithmeticError: a loss is not finite: what was timed is no training.
    """
    running = contenders(case, device)
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(rounds + 1):  # the first one compiles and records
        for name, step in running.items():
            began = time.perf_counter()
            losses = [step() for _ in range(steps)]  # a step gives its loss, so it waits for the GPU
            if not all(map(math.isfinite, losses)):
                raise ArithmeticError(f"{case.name}, {name}: the loss is not finite")
            if turn:
                seconds[name].append((time.perf_counter() - began) / steps)
    rates = {name: [case.batch_size / value for value in values] for name, values in seconds.items()}
    peer = statistics.median(rates["timm"]) if "timm" in rates else None
    return [
        Row(
            case=case.name,
            contender=name,
            pictures_per_second=statistics.median(values),
            least=min(values),
            most=max(values),
            ratio=statistics.median(values) / peer if peer else None,
        )
        for name, values in rates.items()
    ]


def table(rows: list[Row]) -> str:
    """As in the docstring."""
    lines = [f"{'case':<12}{'contender':<12}{'pictures/s':>12}{'range':>18}{'x timm':>8}"]
    for row in rows:
        spread = f"{row.least:,.0f} to {row.most:,.0f}"
        ratio = f"{row.ratio:.2f}" if row.ratio else ""
        lines.append(f"{row.case:<12}{row.contender:<12}{row.pictures_per_second:>12,.0f}{spread:>18}{ratio:>8}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="in one turn")
    parser.add_argument("--case", choices=[case.name for case in CASES])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this computer has no GPU that torch can use")
    device = torch.device("cuda")
    cases = [case for case in CASES if options.case in (None, case.name)]
    rows = [row for case in cases for row in measure(case, options.rounds, options.steps, device)]
    if options.json:
        about = {"gpu": torch.cuda.get_device_name(), "machine": machine(), "versions": versions()}
        print(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
