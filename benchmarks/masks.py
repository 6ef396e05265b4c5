"""From logits to a mask at the picture's own size: ours beside torch's interpolate and argmax, on one thread.

    python -m benchmarks.masks            # some seconds
    python -m benchmarks.masks --json

Every predictor but the native engine's own masks ends in this step. `compiled` is the native engine's kernel,
`numpy` what an install without a compiler does instead; both give the same mask to the bit, which is checked
in the timed calls, and torch's but for ties in the last digit. Measured: docs/native.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from hswish.runtime import mask_at_size, postprocess

CASES = (
    (11, (360, 480), (480, 640)),
    (11, (360, 480), (720, 960)),
    (19, (512, 1024), (1024, 2048)),
)
"""classes, (height, width) of the logits, (height, width) of the picture"""
Logits = NDArray[np.float32]
Make = Callable[[Logits, tuple[int, int]], NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case; the fields of `--json`. Milliseconds are medians."""

    classes: int
    logits: str
    picture: str
    compiled_ms: float | None
    """None where this install has no compiled engine"""
    numpy_ms: float
    torch_ms: float


def in_numpy(logits: Logits, size: tuple[int, int]) -> NDArray[np.uint8]:
    """As in an install without a compiler."""
    with mock.patch.object(postprocess, "is_present", return_value=False):
        return mask_at_size(logits, size)


def in_torch(logits: Logits, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What the peers' users write."""
    planes = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)
    return planes[0].argmax(0).to(torch.uint8).numpy()


def measure(classes: int, low: tuple[int, int], size: tuple[int, int], rounds: int) -> Row:
    """The makers in turns."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(classes, low[0] // 8, low[1] // 8)).astype(np.float32)
    logits = np.ascontiguousarray(coarse.repeat(8, axis=1).repeat(8, axis=2))
    logits += rng.normal(scale=0.1, size=logits.shape).astype(np.float32)
    makers: dict[str, Make] = {"numpy": in_numpy, "torch": in_torch}
    if postprocess.is_present():
        makers["compiled"] = mask_at_size
    wanted = in_numpy(logits, size)
    spent: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            start = time.perf_counter()
            mask = make(logits, size)
            spent[name].append(1000 * (time.perf_counter() - start))
            same = (mask == wanted).mean()
            assert same > 0.9999 if name == "torch" else same == 1, f"{name}: another mask"
    ms = {name: round(statistics.median(times), 2) for name, times in spent.items()}
    return Row(
        classes=classes,
        logits=f"{low[0]}x{low[1]}",
        picture=f"{size[0]}x{size[1]}",
        compiled_ms=ms.get("compiled"),
        numpy_ms=ms["numpy"],
        torch_ms=ms["torch"],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(*case, given.rounds) for case in CASES]
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        ours = "-" if row.compiled_ms is None else f"{row.compiled_ms:.2f}"
        print(
            f"{row.classes} classes, {row.logits} to {row.picture}: "
            f"compiled {ours} ms, numpy {row.numpy_ms:.2f} ms, torch {row.torch_ms:.2f} ms"
        )


if __name__ == "__main__":
    main()
