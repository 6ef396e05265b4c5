"""The mean of several networks' weights, as one network: `python -m zoo.mean DATA OUT.safetensors MODEL MODEL ...`.

Each MODEL is a model file, or the folder of a run, whose averaged weights count as they were last. Networks that one
training passed through, or that trainings from one start came to, lie in one valley of the loss; their mean lies lower
in it ("Model soups", arXiv 2203.05482; for CIFAR-10 it does, for CamVid not: docs/log.md). Their batch norms'
statistics have no mean that means anything and are measured anew, on pictures of train as prediction sees them, half
of them mirrored. `python -m zoo RUN NAME --model OUT.safetensors` puts the result into the zoo.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hswish.data import DataSource, open_data
from hswish.data.loading.eval_loader import EvalLoader
from hswish.evaluate import evaluate
from hswish.models import DescribedModule, load, save
from hswish.models.engine import TorchEngine
from hswish.spec.errors import DataError
from hswish.train.recalibrate import recalibrate
from hswish.train.run_folder import RunFolder

PICTURES, BATCH = 12_000, 250
"""of train, which tell the batch norms' statistics"""


def mean(models: Sequence[Path], source: DataSource, out: Path) -> float:
    """Write the mean of `models` to `out`; returns its headline figure on val.

    Args:
        models: the first is a model file, which says what the others are.

    Raises:
        HswishError: no model there; a run that keeps no averaged weights.
    """
    model = load(models[0])
    states = [_weights(file) for file in models]
    averaged = {
        name: torch.stack([state[name].float() for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(averaged)
    recalibrate(model, _batches(source, model), torch.device("cpu"))
    evaluation = evaluate(TorchEngine(model), source, "val")
    model.describe(metrics={"val": {**evaluation.summary(), "mean_of": len(models)}})
    save(model, out)
    return evaluation.headline[1]


def _weights(file: Path) -> dict[str, Tensor]:
    if not file.is_dir():
        return load(file).state_dict()
    kept = (RunFolder.open(file).read_checkpoint() or {}).get("average")
    if kept is None:
        raise DataError(f"{file}: keeps no averaged weights; give a model file")
    return {name.removeprefix("module."): value for name, value in kept.items()}


def _batches(source: DataSource, model: DescribedModule) -> Iterator[Tensor]:
    """In any order but that of the data set, where a batch would be of one class: statistics are of batches."""
    loader = EvalLoader(source, "train", model.preprocess, batch_size=BATCH, limit=PICTURES)
    views = torch.from_numpy(np.concatenate([np.stack(batch.pictures) for batch in loader]))  # (N, C, H, W)
    views[::2] = views[::2].flip(3)
    order = np.random.default_rng(0).permutation(len(views))
    yield from views[torch.from_numpy(order)].split(BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="what they learnt from")
    parser.add_argument("out", type=Path, help="the .safetensors to write")
    parser.add_argument("models", type=Path, nargs="+", help="model files, or folders of runs")
    given = parser.parse_args()
    print(f"{given.out}: {mean(given.models, open_data(given.data), given.out):.4f} of val")


if __name__ == "__main__":
    main()
