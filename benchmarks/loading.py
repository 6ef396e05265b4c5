"""How many pictures a second the loader gives, by number of worker processes.

    python -m benchmarks.loading [DATA]        (20 to 40 seconds)

DATA is any data set; without it a zip of 200 JPEG pictures with masks, 360x480, is made in
a temporary folder. Every number of workers takes a turn in each of three rounds, on fresh
epochs; the first epoch of a loader (starting its workers) is not counted. Measured on a
2-core x86-64 machine that other work shared:

    made: opened in 0.23 s, 2 cores, batch 8
    0 workers:     38 pictures/s (35 to 67)
    1 workers:     74 pictures/s (64 to 100)
    2 workers:     75 pictures/s (60 to 130)
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hswish.data import Augment, DataSource, PictureDataset, TrainLoader, TrainTransform, open_data
from hswish.spec.preprocess import Preprocess

PICTURES, HEIGHT, WIDTH = 200, 360, 480
WORKERS = (0, 1, 2)
ROUNDS = 3
MAX_BATCHES = 25
BATCH = 8


def make_zip(path: Path) -> None:
    """Distinct pictures as large, on disk, as photographs are."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("classes.txt", "\n".join(f"class {index}" for index in range(11)))
        for index in range(PICTURES):
            for kind, suffix in (("images", "jpg"), ("masks", "png")):
                cells = rng.integers(0, 256 if kind == "images" else 11, (45, 60, 3), np.uint8)
                flag = cv2.INTER_CUBIC if kind == "images" else cv2.INTER_NEAREST
                pixels = np.asarray(cv2.resize(cells, (WIDTH, HEIGHT), interpolation=flag))
                file = BytesIO()
                Image.fromarray(pixels if kind == "images" else pixels[..., 0]).save(
                    file, {"jpg": "JPEG", "png": "PNG"}[suffix], quality=95
                )
                archive.writestr(f"{kind}/train/{index:04d}.{suffix}", file.getvalue())


def loader(source: DataSource, workers: int) -> TrainLoader:
    height, width = source.median_size()
    scale = (0.5, 2.0) if source.task == "segmentation" else (0.35, 1.0)
    augment = Augment(scale=scale, mirror=0.5, brightness=0.2, contrast=0.2, saturation=0.2)
    transform = TrainTransform(augment, Preprocess(height=height, width=width, resize="stretch"), source.task)
    return TrainLoader(PictureDataset(source, "train", transform), batch_size=BATCH, workers=workers)


def pictures_per_second(batches: TrainLoader, epoch: int) -> float:
    count, start = 0, time.perf_counter()
    for number, batch in enumerate(batches.epoch(epoch), start=1):
        assert batch.pictures.isfinite().all()
        count += len(batch)
        if number == MAX_BATCHES:
            break
    return count / (time.perf_counter() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            path = Path(sys.argv[1])
        else:
            path = Path(folder, "made.zip")
            make_zip(path)
        start = time.perf_counter()
        source = open_data(path)
        print(f"{source.name}: opened in {time.perf_counter() - start:.2f} s, {os.cpu_count()} cores, batch {BATCH}")
        loaders = {workers: loader(source, workers) for workers in WORKERS}
        rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        for epoch in range(ROUNDS + 1):
            for workers, batches in loaders.items():
                rate = pictures_per_second(batches, epoch)
                if epoch > 0:
                    rates[workers].append(rate)
        for workers, values in rates.items():
            spread = f"{min(values):.0f} to {max(values):.0f}"
            print(f"{workers} workers: {statistics.median(values):6.0f} pictures/s ({spread})")


if __name__ == "__main__":
    main()
