"""Training speed, beside a plain PyTorch loop on the same network, pictures and augmentation.

    python -m benchmarks.training [--threads N] [--rounds N] [--case NAME] [--json]        (4 to 8 minutes)

`plain` is what most people write: ImageFolder-like files decoded by Pillow, a DataLoader, the network as torch
lays it out (NCHW), SGD. `hswish` is `hswish train` in float32, `hswish bf16` with `--set precision=bf16-mixed`.
All train hswish's own network on one set of JPEG files made here. Each contender is a process of its own; they take
turns, a few steps each, so that whatever else the computer does slows all of them. Every loss is checked. `held` is
`--set held=true`, as in the recipe for CIFAR-10: pictures are decoded once and augmented by torch, in batches.

`loader` is decoding and augmentation alone, by the loader that hswish trains from; `network` is its step on one batch
again and again. The slower of the two is the limit.

Measured (median of 4 rounds on 2 cores of an AMD EPYC with AVX-512, torch 2.13):

    case        contender       pictures/s             range  x plain
    large-224   plain                 16.9      15.9 to 20.8     1.00
    large-224   hswish                30.5      28.2 to 34.4     1.80
    large-224   hswish bf16           39.8      38.1 to 43.4     2.35

and on 2 cores of an Intel Xeon with AMX, after squeeze-and-excitation had become one operation and depthwise kernels
twice as quick (median of 5 rounds, of 4 for large-224):

    small-32    plain                129.3    112.8 to 159.9     1.00
    small-32    hswish               276.1    251.6 to 297.7     2.14
    small-32    hswish bf16          407.0    321.2 to 450.2     3.15
    small-32    held                 390.6    350.0 to 405.4     3.02
    small-32    held bf16            525.4    514.3 to 575.6     4.06
    large-224   plain                 17.7      15.5 to 19.3     1.00
    large-224   hswish                30.0      27.6 to 30.8     1.69
    large-224   hswish bf16           38.6      34.7 to 44.0     2.18

On the AMD small-32 was 1.31 and 1.92 before that. On 2 cores of an AMD EPYC without AVX-512 (Zen 3; median of 5
rounds), where torch has no bfloat16, after the kernels of AVX2 had come to compute in vectors of its width and to read
maps in memory's order; in brackets before that (docs/log.md):

    large-224   plain                 11.4      10.5 to 12.9     1.00
    large-224   hswish                19.1      17.6 to 19.9     1.67  (1.47)
    small-224   plain                 29.4      27.6 to 34.4     1.00
    small-224   hswish                48.6      44.4 to 50.3     1.65  (1.57)
    small-32    plain                 87.5     81.9 to 101.3     1.00
    small-32    hswish               152.6    124.9 to 167.6     1.74  (1.47)
    small-32    held                 244.5    198.1 to 276.5     2.79  (1.92)
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing as mp
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.startup import machine, versions
from hswish.train.processor import has_bfloat16

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network at one input size."""

    name: str
    model: str
    size: int
    file_size: tuple[int, int]
    batch_size: int
    pictures: int
    steps: int
    """in one turn"""
    options: tuple[tuple[str, Any], ...] = ()
    small: bool = False
    """pictures are as small as the input, and held"""

    @property
    def contenders(self) -> tuple[str, ...]:
        """Without bfloat16 where the processor has none."""
        kinds = ("hswish", "held") if self.small else ("hswish",)
        halves = (" bf16",) if has_bfloat16() else ()
        return ("plain", *(kind + half for kind in kinds for half in ("", *halves)))


LARGE_224 = Case(
    name="large-224",
    model="mobilenet_v3_large",
    size=224,
    file_size=(375, 500),
    batch_size=16,
    pictures=320,
    steps=4,
)
SMALL_224 = replace(LARGE_224, name="small-224", model="mobilenet_v3_small", batch_size=32, steps=5)
SMALL_32 = Case(
    name="small-32",
    model="mobilenet_v3_small",
    size=32,
    file_size=(32, 32),
    batch_size=128,
    pictures=2560,
    steps=8,
    options=(("keep_size", 2),),
    small=True,
)
CASES = (LARGE_224, SMALL_224, SMALL_32)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one contender did."""

    case: str
    contender: str
    pictures_per_second: float
    least: float
    most: float
    ratio: float
    """to the plain loop's"""


def make_pictures(folder: Path, case: Case) -> Path:
    """JPEG files in one folder a class: smooth noise, which is about as large on disk as photographs are."""
    rng = np.random.default_rng(0)
    height, width = case.file_size
    for index in range(case.pictures):
        cells = rng.integers(0, 256, (max(height // 8, 4), max(width // 8, 4), 3), np.uint8)
        pixels = np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC))
        place = folder / "train" / f"class{index % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index:05d}.jpg", quality=90)
    return folder


# ---------------------------------------------------------------- contenders, each in its own process


class PlainPictures:
    """What torchvision's ImageFolder gives with RandomResizedCrop, a flip, ToTensor and Normalize."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files = sorted(folder.glob("train/*/*.jpg"))
        self.size = size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        file = self.files[index]
        picture = Image.open(file).convert("RGB")
        width, height = picture.size
        area, shape = random.uniform(0.35, 1.0) * width * height, math.exp(random.uniform(-0.2877, 0.2877))
        w, h = min(width, round((area * shape) ** 0.5)), min(height, round((area / shape) ** 0.5))
        left, top = random.randint(0, width - w), random.randint(0, height - h)
        side = (self.size, self.size)
        picture = picture.resize(side, Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        values = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (values - mean[:, None, None]) / std[:, None, None], int(file.parent.name[5:])


def plain_steps(case: Case, folder: Path, threads: int) -> Iterator[float]:
    """Losses of the plain loop."""
    import torch
    from torch.utils.data import DataLoader

    import hswish

    torch.set_num_threads(threads)
    model: Any = hswish.create_model(case.model, num_classes=CLASSES, **dict(case.options))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader: Any = DataLoader(
        PlainPictures(folder, case.size),  # type: ignore[arg-type]
        batch_size=case.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=1,
        persistent_workers=True,
    )
    model.train()
    while True:
        for pictures, labels in loader:
            loss = torch.nn.functional.cross_entropy(model(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()


def hswish_steps(
    case: Case, folder: Path, threads: int, *, half: bool = False, stuck: bool = False, held: bool = False
) -> Iterator[float]:
    """Losses of what `hswish train` does; `stuck`: of one batch again and again."""
    from hswish.train.processor import keep_memory, share_cores

    keep_memory()
    import torch

    import hswish
    from hswish.train.devices import Devices
    from hswish.train.learner import Learner

    torch.set_num_threads(threads)
    if not held:
        share_cores(case.size**2)
    recipe = _recipe("bf16-mixed" if half else "32-true")
    model: Any = hswish.create_model(case.model, num_classes=CLASSES, **dict(case.options))
    learner = Learner(model, recipe, Devices(recipe.precision))
    learner.begin_epoch(0)
    kept = None
    for number, batch in enumerate(_batches(case, folder, held)):
        kept = batch if kept is None or not stuck else kept
        yield learner.step([kept], number, 0.05).loss


def loader_steps(case: Case, folder: Path, threads: int) -> Iterator[float]:
    """Batches alone."""
    for batch in _batches(case, folder):
        yield float(batch.pictures[0, 0, 0, 0])


def _recipe(precision: Any) -> Any:
    from hswish.train import Recipe

    plain: dict[str, Any] = {"ema_decay": 0.0, "label_smoothing": 0.0, "clip_norm": 0.0}
    return Recipe(optimizer="sgd", lr=0.05, weight_decay=5e-4, precision=precision, **plain)


def _batches(case: Case, folder: Path, held: bool = False) -> Iterator[Any]:
    import torch

    from hswish.data import Augment, HeldLoader, PictureDataset, TrainLoader, TrainTransform, open_data
    from hswish.spec.preprocess import Preprocess

    source = open_data(folder)
    preprocess = Preprocess(height=case.size, width=case.size, resize="stretch")
    transform = TrainTransform(Augment(scale=(0.35, 1.0), ratio=(3 / 4, 4 / 3), mirror=0.5), preprocess, source.task)
    dataset, size = PictureDataset(source, "train", transform), case.batch_size
    loader: TrainLoader | HeldLoader
    if held:
        loader = HeldLoader(dataset, batch_size=size, device=torch.device("cpu"), workers=1)
    else:
        loader = TrainLoader(dataset, batch_size=size, workers=1)
    epoch = 0
    while True:
        yield from (batch for batch in loader.epoch(epoch) if len(batch) == case.batch_size)
        epoch += 1


STEPS: dict[str, Callable[[Case, Path, int], Iterator[float]]] = {
    "plain": plain_steps,
    "hswish": hswish_steps,
    "hswish bf16": lambda case, folder, threads: hswish_steps(case, folder, threads, half=True),
    "held": lambda case, folder, threads: hswish_steps(case, folder, threads, held=True),
    "held bf16": lambda case, folder, threads: hswish_steps(case, folder, threads, half=True, held=True),
    "loader": loader_steps,
    "network": lambda case, folder, threads: hswish_steps(case, folder, threads, stuck=True),
    "network bf16": lambda case, folder, threads: hswish_steps(case, folder, threads, half=True, stuck=True),
}


def contend(connection: Connection, name: str, case: Case, folder: Path, threads: int) -> None:
    """Make steps when told to, and answer with the seconds they took."""
    steps = STEPS[name](case, folder, threads)
    while True:
        count = connection.recv()
        if not count:
            return
        began = time.perf_counter()
        losses = [next(steps) for _ in range(count)]
        connection.send((time.perf_counter() - began, losses))


# ---------------------------------------------------------------- taking turns


def measure(case: Case, threads: int, rounds: int, names: tuple[str, ...]) -> list[Row]:
    """Pictures a second of each contender; the first turn of each is not counted."""
    context = mp.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        data = make_pictures(Path(folder), case)
        pipes, processes = {}, []
        for name in names:
            ours, theirs = context.Pipe()
            process = context.Process(target=contend, args=(theirs, name, case, data, threads))
            process.start()
            theirs.close()
            pipes[name] = ours
            processes.append(process)
        speeds: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds + 1):
            for name, pipe in pipes.items():
                pipe.send(case.steps)
                seconds, losses = pipe.recv()
                assert all(math.isfinite(loss) for loss in losses), f"{name}: {losses}"
                if turn:
                    speeds[name].append(case.steps * case.batch_size / seconds)
        for pipe, process in zip(pipes.values(), processes, strict=True):
            pipe.send(0)
            process.join()
    plain = statistics.median(speeds[names[0]])
    return [
        Row(
            case=case.name,
            contender=name,
            pictures_per_second=(median := statistics.median(found)),
            least=min(found),
            most=max(found),
            ratio=median / plain,
        )
        for name, found in speeds.items()
    ]


def table(rows: list[Row]) -> str:
    """One line a contender."""
    lines = [f"{'case':<12}{'contender':<14}{'pictures/s':>12}{'range':>18}{'x plain':>9}"]
    for row in rows:
        span = f"{row.least:.1f} to {row.most:.1f}"
        lines.append(f"{row.case:<12}{row.contender:<14}{row.pictures_per_second:>12.1f}{span:>18}{row.ratio:>9.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="torch's, in every contender")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=[case.name for case in CASES], action="append")
    parser.add_argument("--parts", action="store_true", help="loader and network by themselves, too")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    parts = ("loader", "network", *(["network bf16"] if has_bfloat16() else [])) if given.parts else ()
    rows: list[Row] = []
    for case in CASES:
        if not given.case or case.name in given.case:
            rows += measure(case, given.threads, given.rounds, (*case.contenders, *parts))
    if given.json:
        about = {"machine": machine(), "versions": versions(), "threads": given.threads}
        print(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
