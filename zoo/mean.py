"""The mean of several networks' weights, as one network: `python -m zoo.mean DATA OUT.safetensors MODEL MODEL ...`.

Each MODEL is a model file, or the `last.ckpt` of a run, whose averaged weights count. Networks that one training passed
through, or that trainings from one start came to, lie in one valley of the loss; their mean lies lower in it
("Model soups", arXiv 2203.05482; for CIFAR-10 docs/log.md). Their batch norms' statistics have no mean that means
anything and are measured anew, on pictures of train as prediction sees them, half of them mirrored. `python -m zoo
RUN NAME --model OUT.safetensors` puts the result into the zoo.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hswish.data import DataSource, open_data
from hswish.data.eval_loader import EvalLoader
from hswish.evaluate import evaluate
from hswish.models import DescribedModule, load, save
from hswish.runtime import open_engine
from hswish.train.recalibrate import recalibrate

PICTURES, BATCH = 12_000, 250


def mean(models: Sequence[Path], source: DataSource, out: Path, pictures: int = PICTURES) -> float:
    """Write the mean of `models` to `out`; returns its headline figure on val.

    Args:
        models: the first is a model file, which says what the others are.
        pictures: so many of train tell the batch norms' statistics.
    """
    model = load(models[0])
    states = [_weights(file) for file in models]
    averaged = {
        name: torch.stack([state[name].float() for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(averaged)
    recalibrate(model, _batches(source, model, pictures), torch.device("cpu"))
    save(model, out)
    evaluation = evaluate(open_engine(out), source, "val")
    model.describe(metrics={"val": {**evaluation.summary(), "mean_of": len(models)}})
    save(model, out)
    return evaluation.headline[1]


def _weights(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".ckpt":
        return load(file).state_dict()
    kept = torch.load(file, map_location="cpu", weights_only=True)["average"]
    return {name.removeprefix("module."): value for name, value in kept.items()}


def _batches(source: DataSource, model: DescribedModule, pictures: int) -> Iterator[Tensor]:
    """In any order but that of the data set, where a batch would be of one class: statistics are of batches."""
    loader = EvalLoader(source, "train", model.preprocess, batch_size=BATCH, limit=pictures)
    views = torch.from_numpy(np.concatenate([np.stack(batch.pictures) for batch in loader]))  # (N, C, H, W)
    views[::2] = views[::2].flip(3)
    order = np.random.default_rng(0).permutation(len(views))
    yield from views[torch.from_numpy(order)].split(BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="what they learnt from")
    parser.add_argument("out", type=Path, help="the .safetensors to write")
    parser.add_argument("models", type=Path, nargs="+", help="model files, or a run's last.ckpt")
    given = parser.parse_args()
    print(f"{given.out}: {mean(given.models, open_data(given.data), given.out):.4f} of val")


if __name__ == "__main__":
    main()
