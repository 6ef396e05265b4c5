"""Whether two runs ended alike."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file


def same_weights(first: Path, second: Path) -> bool:
    """Bit for bit, in two model files."""
    ours, theirs = load_file(first), load_file(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
