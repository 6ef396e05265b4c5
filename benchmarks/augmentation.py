"""Which augmentation library: albumentations against kornia, on one core.

    python -m benchmarks.augmentation          (about ten seconds)

The same steps (zoom to 0.5-2 with crop, mirror, colour jitter) on 360x480 pictures with
their masks, each library timed in turn in one run, by the thread's own time. Measured on
one core of a 2-core x86-64 machine that other work shared, medians of 30 pictures:

    albumentations  2.0.8       7.01 ms a picture (quartiles 5.37 to 8.03)
    kornia          0.9.0      31.31 ms a picture (quartiles 24.92 to 32.37)
    kornia / albumentations: 4.5
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import cv2
import numpy as np
import torch
from PIL import Image

from hswish.data import Augment, TrainTransform
from hswish.spec.preprocess import Preprocess

HEIGHT, WIDTH = 360, 480
AUGMENT = Augment(scale=(0.5, 2.0), mirror=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
PREPROCESS = Preprocess(height=HEIGHT, width=WIDTH, resize="stretch")
REPEATS = 30

Step = Callable[[int], tuple[tuple[int, ...], tuple[int, ...]]]
"""Augments the picture with a seed; gives the shapes of picture and mask."""


def albumentations_step(picture: np.ndarray, mask: np.ndarray) -> Step:
    transform = TrainTransform(AUGMENT, PREPROCESS, "segmentation")
    image = Image.fromarray(picture)

    def step(seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        pixels, target = transform(image, mask, seed)
        return pixels.shape, np.asarray(target).shape

    return step


def kornia_step(picture: np.ndarray, mask: np.ndarray) -> Step:
    import kornia.augmentation as K  # noqa: N812 - the library's own abbreviation

    jitter = (AUGMENT.brightness, AUGMENT.contrast, AUGMENT.saturation, AUGMENT.hue)
    steps = K.AugmentationSequential(
        K.RandomAffine(0.0, scale=AUGMENT.scale, p=1.0),
        K.RandomHorizontalFlip(p=AUGMENT.mirror),
        K.ColorJitter(*jitter, p=1.0),
        K.Normalize(mean=torch.tensor(PREPROCESS.mean), std=torch.tensor(PREPROCESS.std)),
        data_keys=["input", "mask"],
    )

    def step(seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        torch.manual_seed(seed)
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        pixels, target = steps(pixels, torch.from_numpy(mask)[None, None].float())
        return tuple(pixels.shape[1:]), tuple(target.shape[2:])

    return step


def main() -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 3).astype(np.uint8)
    mask = rng.integers(0, 11, (HEIGHT, WIDTH), np.uint8)
    steps = {"albumentations": albumentations_step(picture, mask)}
    try:
        steps["kornia"] = kornia_step(picture, mask)
    except ModuleNotFoundError:
        print("kornia is not installed, so it is not measured: pip install kornia")

    times_ms: dict[str, list[float]] = {name: [] for name in steps}
    for seed in range(REPEATS + 3):
        for name, step in steps.items():  # in turn, so that a busy moment hits both
            start = time.thread_time()  # this thread's own time: other work on the machine does not count
            shapes = step(seed)
            elapsed_ms = (time.thread_time() - start) * 1e3
            assert shapes == ((3, HEIGHT, WIDTH), (HEIGHT, WIDTH)), shapes
            if seed >= 3:
                times_ms[name].append(elapsed_ms)

    print(f"{platform.machine()}, {HEIGHT}x{WIDTH}, one thread, {REPEATS} pictures")
    medians = {name: statistics.median(values) for name, values in times_ms.items()}
    for name, median in medians.items():
        low, _, high = statistics.quantiles(times_ms[name])
        print(f"{name:15} {version(name):8} {median:7.2f} ms a picture (quartiles {low:.2f} to {high:.2f})")
    if "kornia" in medians:
        print(f"kornia / albumentations: {medians['kornia'] / medians['albumentations']:.1f}")


if __name__ == "__main__":
    main()
