"""Which reading of LR-ASPP trains best per multiply-add: every head, one recipe, one data set.

    python -m benchmarks.lraspp_heads DATA --out runs/heads --epochs 24      (hours on two cores)

DATA has its pictures in `train` and `val`, as for `hswish train`; for CamVid let `val` be drives
that are not in `train`. Finished runs in --out are read, not trained again, so the table can be
made in pieces (`--only`). Results and their reading: docs/log.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hswish.models import load
from hswish.spec.budget import count_multiply_adds, count_parameters
from hswish.train import train

MODEL = "lraspp_mobilenet_v3_small"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One network to train."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


CONTENDERS = (
    Contender(name="lraspp"),
    Contender(name="official", options={"head": "official"}),
    Contender(name="seed, halved tail", options={"head": "seed", "reduced_tail": True}),
    Contender(name="seed", options={"head": "seed"}),
    Contender(name="torchvision", options={"head": "torchvision"}),
    Contender(name="lraspp, full tail", options={"reduced_tail": False}),
    Contender(name="lraspp, output stride 32", options={"output_stride": 32}),
    Contender(name="raspp", options={"head": "raspp"}),
)


def run(contender: Contender, data: str, out: Path, epochs: int, seed: int, size: tuple[int, int]) -> dict[str, Any]:
    """Train (or read) one network; its budget and validation mIoU."""
    folder = out / f"{contender.name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    if not (folder / "result.json").exists():
        changes = {"epochs": epochs, "height": size[0], "width": size[1], "seed": seed}
        result = train(data, MODEL, out=folder, changes=changes, workers=1, **contender.options)
        (folder / "result.json").write_text(json.dumps(result.metrics))
    metrics = json.loads((folder / "result.json").read_text())
    architecture = load(folder / "best.safetensors").architecture
    return {
        "head": contender.name,
        "seed": seed,
        "parameters": count_parameters(architecture),
        "multiply_adds": count_multiply_adds(architecture, *size),
        "miou": metrics["miou"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[contender.name for contender in CONTENDERS])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seed:
        for contender in CONTENDERS:
            if not arguments.only or contender.name in arguments.only:
                row = run(contender, arguments.data, arguments.out, arguments.epochs, seed, tuple(arguments.size))
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
