"""How the plain network learns: shifts, mirrors, in deep ones mixed pictures; SGD with Lookahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hswish.data.augment.mixing import mix
from zoo.plain.network import Plain

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
    """mixup and cutmix of half of the batches: see `hswish.data.augment.mixing.mix`"""


SHALLOW = Course((64, 256, 256), deep=False, epochs=18, lr=11.5, weight_decay=0.0153, smoothing=0.2, mixed=0.0)
DEEP = Course((128, 384, 512), deep=True, epochs=50, lr=9.0, weight_decay=0.012, smoothing=0.1, mixed=1.0)


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
