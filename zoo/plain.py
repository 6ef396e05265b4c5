"""A plain convolution network on small pictures, as a teacher: `python -m zoo.plain CIFAR10 plain.onnx`.

Network:   three groups of two 3x3 convolutions behind a fixed whitening layer, 2 M parameters, 0.12 G multiply-adds
Hardware:  CPU cores with bfloat16 matrices; two of them made 440 to 870 pictures a second
Time:      18 epochs of 49,000 pictures in 28 minutes, by this code before it was put in order, as was the score
Score:     top-1 0.889 of 1,000 held out; 0.905 by the mean with the mirrored picture
Source:    K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498), whose 10 epochs reach 0.94
           from the original pixels and by the mean of six views. Changed: 18 epochs, shifts of 3 pixels.

It errs elsewhere than networks of depthwise convolutions do, and dense products are what processors do best:
it learns as many pictures a second as Small, which has a seventh of the multiply-adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.data import DataSource, open_data
from hswish.data.eval_loader import EvalLoader
from hswish.data.mixing import mix
from hswish.spec.preprocess import Preprocess
from zoo.plain_files import write

BATCH, SHIFT = 1024, 3
MOMENTUM, BIAS_FACTOR = 0.85, 64.0


@dataclass(frozen=True)
class Course:
    """A network and how it learns."""

    widths: tuple[int, ...]
    deep: bool
    epochs: int
    lr: float
    """of 1024 pictures' summed loss, divided by what momentum makes of a step"""
    weight_decay: float
    """likewise"""
    smoothing: float
    """of labels"""
    mixed: float
    """mixup and cutmix of half of the batches: see `hswish.data.mixing.mix`"""


SHALLOW = Course((64, 256, 256), deep=False, epochs=18, lr=11.5, weight_decay=0.0153, smoothing=0.2, mixed=0.0)
DEEP = Course((128, 384, 512), deep=True, epochs=50, lr=9.0, weight_decay=0.012, smoothing=0.1, mixed=1.0)


# --------------------------------------------------------------------------------------
# The network
# --------------------------------------------------------------------------------------


class Group(nn.Module):
    """Convolution, halving, convolution, and in deep ones a third: (N, in, H, W) to (N, out, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int, deep: bool = False) -> None:
        super().__init__()
        entries = (in_channels, out_channels, out_channels) if deep else (in_channels, out_channels)
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False) for channels in entries)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels, momentum=0.4) for _ in entries)
        for conv in self.convs:
            nn.init.dirac_(conv.weight.data[: conv.in_channels])  # begins by letting its input through
        for norm in self.norms:
            norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = halved = F.gelu(self.norms[0](F.max_pool2d(self.convs[0](x), 2)))
        x = self.norms[1](self.convs[1](x))
        if len(self.convs) == 3:
            x = self.norms[2](self.convs[2](F.gelu(x))) + halved
        return F.gelu(x)


class Plain(nn.Module):
    """Logits (N, K) of pictures (N, 3, H, W)."""

    def __init__(self, num_classes: int, widths: Sequence[int] = (64, 256, 256), deep: bool = False) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        pairs = zip((24, *widths[:-1]), widths, strict=True)
        self.groups = nn.Sequential(*(Group(*pair, deep) for pair in pairs))
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(F.gelu(self.whiten(x)))
        return self.classifier(x.amax((2, 3))) / 9

    @torch.no_grad()
    def fit_whitening(self, pictures: Tensor) -> None:
        """Filters that make the 2x2 patches of `pictures` uncorrelated and of variance 1, each with its negative."""
        patches = F.unfold(pictures, 2).transpose(1, 2).reshape(-1, 12)
        variances, axes = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (axes / (variances + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type] # it has one


# --------------------------------------------------------------------------------------
# Its training
# --------------------------------------------------------------------------------------


def learn(
    net: Plain, pictures: Tensor, labels: Tensor, course: Course, *, batch_size: int = BATCH, seed: int = 0
) -> None:
    """Train, where `net` is, on pictures (N, 3, H, W) in evaluation's normalisation."""
    device = net.classifier.weight.device
    net.fit_whitening(pictures[torch.randperm(len(pictures))[:5000]])
    net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload] # as in models/engine.py
    pictures, labels = pictures.to(device), labels.to(device)
    epochs, steps_each = course.epochs, max(1, len(pictures) // batch_size)
    steps = epochs * steps_each
    optimizer = _optimizer(net, course, batch_size)
    rates = np.interp(np.arange(steps) / steps, [0, 0.2, 1], [0.2, 1, 0.05])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(rates[min(step, steps - 1)]))
    slow = [value.clone() for value in _averaged(net)]
    chance = np.random.default_rng(seed)
    mirrored = torch.rand(len(pictures), device=device) < 0.5
    step = 0
    for epoch in range(epochs):
        net.whiten.bias.requires_grad_(epoch < 3)  # type: ignore[union-attr] # it has one
        for rows in torch.randperm(len(pictures), device=device).split(batch_size)[:steps_each]:
            views = shifted(pictures[rows], mirrored[rows] ^ bool(epoch % 2))  # every other epoch the other side
            views, wanted = mix(
                views, labels[rows], net.classifier.out_features, chance,
                mixup=course.mixed, cutmix=course.mixed, probability=0.5,
            )  # fmt: skip
            with torch.autocast(device.type, torch.bfloat16):
                logits = net(views)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), wanted, label_smoothing=course.smoothing, reduction="sum").backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % 5 == 0 or step == steps:
                kept = 0.95**5 * (step / steps) ** 3 if step < steps else 1.0
                _look_back(slow, _averaged(net), kept)
        print(f"epoch {epoch + 1}/{epochs}", flush=True)
    net.eval()


def shifted(pictures: Tensor, mirrored: Tensor, most: int = SHIFT) -> Tensor:
    """Each moved by up to `most` pixels, its border mirrored, and turned round where `mirrored` (N,) says so."""
    device, (count, _, height, width) = pictures.device, pictures.shape
    padded = F.pad(pictures, (most,) * 4, "reflect")
    down, right = torch.randint(0, 2 * most + 1, (2, count), device=device)
    columns = torch.arange(width, device=device)
    columns = right[:, None] + torch.where(mirrored[:, None], columns.flip(0), columns)
    rows = (down[:, None] + torch.arange(height, device=device))[:, :, None]
    moved = padded.permute(0, 2, 3, 1)[torch.arange(count, device=device)[:, None, None], rows, columns[:, None]]
    return moved.permute(0, 3, 1, 2)  # channels last in memory


def _optimizer(net: Plain, course: Course, batch_size: int) -> torch.optim.Optimizer:
    scale = 1024 * (1 + 1 / (1 - MOMENTUM))
    lr, decay = course.lr / scale, course.weight_decay * batch_size / scale
    biases = [value for name, value in net.named_parameters() if "norms" in name and name.endswith("bias")]
    others = [value for name, value in net.named_parameters() if "norms" not in name and name != "whiten.weight"]
    groups = [(biases, lr * BIAS_FACTOR), (others, lr)]
    return torch.optim.SGD(
        [{"params": params, "lr": rate, "weight_decay": decay / rate} for params, rate in groups],
        momentum=MOMENTUM,
        nesterov=True,
    )


def _averaged(net: Plain) -> list[Tensor]:
    return [value for value in net.state_dict().values() if value.is_floating_point()]


def _look_back(slow: list[Tensor], values: list[Tensor], kept: float) -> None:
    """Move the slow weights towards the quick ones, which go on from there (Lookahead, arXiv 1907.08610)."""
    for before, now in zip(slow, values, strict=True):
        before.lerp_(now, 1 - kept)
        now.copy_(before)


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
    print(f"top-1 {right(net, *_split(source, 'val')):.4f} of val")
    write(net.cpu(), given.file)


def _split(source: DataSource, split: str) -> tuple[Tensor, Tensor]:
    """All pictures (N, 3, 32, 32) and labels (N,)."""
    loader = EvalLoader(source, split, Preprocess(height=32, width=32, crop_fraction=1.0), batch_size=BATCH)
    batches = [(np.stack(batch.pictures), np.array(batch.targets)) for batch in loader]
    pictures, labels = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*batches, strict=True))
    return pictures, labels


@torch.no_grad()
def right(net: Plain, pictures: Tensor, labels: Tensor) -> float:
    """The share of pictures that it knows."""
    device = net.classifier.weight.device
    answers = torch.cat([net(part.to(device)).argmax(1).cpu() for part in pictures.split(BATCH)])
    return (answers == labels).double().mean().item()


if __name__ == "__main__":
    main()
