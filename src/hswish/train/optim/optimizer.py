"""The optimizer, and which weights learn how fast."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from hswish.train.optim.rmsprop import RMSPropTF
from hswish.train.recipe import Recipe
from hswish.train.recipe_groups import FineTuning


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; batch norms and biases carry no weight decay.

    Each group has, beside torch's own entries, `lr_factor`: what the schedule's rate is
    multiplied by.
    """
    blocks = len(
        {name.split(".blocks.")[1].split(".")[0] for name, _ in model.named_parameters() if ".blocks." in name}
    )
    members: defaultdict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, weight in model.named_parameters():
        members[lr_factor(name, blocks, recipe.finetune), weight.ndim > 1].append(weight)
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay if decays else 0.0, "lr_factor": factor}
        for (factor, decays), weights in members.items()
    ]
    fused = recipe.precision != "16-mixed"  # fused ones undo fp16's loss scale themselves, too late for clipping
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=fused)
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused)
    return RMSPropTF(groups, lr=recipe.lr, momentum=recipe.momentum, eps=recipe.rmsprop_eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group its share of the schedule's rate."""
    for group in optimizer.param_groups:
        rate = lr * group["lr_factor"]
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def keep_rates_on(device: torch.device, optimizer: torch.optim.Optimizer) -> None:
    """Have a recorded step of `optimizer` read the rate of its time, not of the recording's."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True


def lr_factor(name: str, blocks: int, care: FineTuning) -> float:
    """Factor of the learning rate of the weight called `name`, in a backbone of so many blocks.

    1 in the head; in the backbone `backbone_lr`, and `depth_decay` once for each layer on the way down.
    """
    _, inside, layer = name.rpartition("backbone.")
    if not inside:
        return 1.0
    kind, _, rest = layer.partition(".")
    depth = {"stem": 0, "last": blocks + 1}.get(kind) if kind != "blocks" else int(rest.split(".")[0]) + 1
    assert depth is not None, name
    return care.backbone_lr * care.depth_decay ** (blocks + 2 - depth)
