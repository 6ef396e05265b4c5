"""A plain convolution network on small pictures, as a teacher: `python -m zoo.plain CIFAR10 plain.onnx`.

Network:   three groups of two 3x3 convolutions behind a fixed whitening layer, 2 M parameters, 0.12 G multiply-adds;
           with --deep three, the last past a shortcut, 9.9 M and 0.45 G
Hardware:  CPU cores with bfloat16 matrices; two of them made 440 to 870 pictures a second. --deep is for a GPU
Time:      18 epochs of 49,000 pictures in 28 minutes, by this code before it was put in order, as was the score; two of
           --deep beside each other 50 epochs each in 165 s of an H200
Score:     top-1 0.889 of 1,000 held out; 0.905 by the mean with the mirrored picture; two of --deep 0.927 and 0.931
Source:    K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498), whose 10 epochs reach 0.94
           from the original pixels and by the mean of six views, and 0.96 by the deeper one of more epochs.
           Changed: 18 and 50 epochs, shifts of 3 pixels; in --deep mixup and cutmix of half of the batches.

It errs elsewhere than networks of depthwise convolutions do, and dense products are what processors do best:
it learns as many pictures a second as Small, which has a seventh of the multiply-adds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hswish.data import DataSource, open_data
from hswish.data.loading.eval_loader import EvalLoader
from hswish.spec.preprocess import Preprocess
from zoo.plain.files import write
from zoo.plain.learning import BATCH, DEEP, SHALLOW, learn
from zoo.plain.network import Plain


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="the pictures, of 32x32, in any layout that hswish reads")
    parser.add_argument("file", type=Path, help="to write: .onnx, or .pt2 for students on a GPU")
    parser.add_argument("--deep", action="store_true", help="the deeper network, for a GPU")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    course = DEEP if given.deep else SHALLOW
    if given.epochs is not None:
        course = replace(course, epochs=given.epochs)
    source = open_data(given.data)
    net = Plain(len(source.classes), course.widths, course.deep)
    torch.backends.cudnn.benchmark = True
    net.to("cuda" if torch.cuda.is_available() else "cpu")
    learn(net, *_split(source, "train"), course, seed=given.seed)
    print(f"top-1 {_right(net, *_split(source, 'val')):.4f} of val")
    write(net.cpu(), given.file)


def _split(source: DataSource, split: str) -> tuple[Tensor, Tensor]:
    """All pictures (N, 3, 32, 32) and labels (N,)."""
    loader = EvalLoader(source, split, Preprocess(height=32, width=32, crop_fraction=1.0), batch_size=BATCH)
    batches = [(np.stack(batch.pictures), np.array(batch.targets)) for batch in loader]
    pictures, labels = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*batches, strict=True))
    return pictures, labels


@torch.no_grad()
def _right(net: Plain, pictures: Tensor, labels: Tensor) -> float:
    """The share of pictures that it knows."""
    device = net.classifier.weight.device
    answers = torch.cat([net(part.to(device)).argmax(1).cpu() for part in pictures.split(BATCH)])
    return (answers == labels).double().mean().item()


if __name__ == "__main__":
    main()
