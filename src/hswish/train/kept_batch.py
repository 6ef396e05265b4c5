"""The batch at which a run failed, kept for a look at it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from hswish.data import Batch
from hswish.spec.files import write_aside


def keep_batch(path: Path, batches: Sequence[Batch], names: Sequence[str], place: str) -> None:
    """Write the pictures and targets of a step as they met the network, before any mixing.

    The file holds `pictures` (N, C, h, w) and `targets`, and in its metadata where it was (`place`)
    and the pictures' names: `safetensors.torch.load_file(path)`, `safetensors.safe_open(path).metadata()`.

    Raises:
        SaveError: the disk is full or the folder not writable.
    """
    tensors = {
        "pictures": torch.cat([batch.pictures for batch in batches]).contiguous(),
        "targets": torch.cat([batch.targets for batch in batches]).contiguous(),
    }
    data = safetensors.torch.save(tensors, metadata={"place": place, "names": json.dumps(list(names))})
    with write_aside(path) as aside:
        aside.write_bytes(data)
