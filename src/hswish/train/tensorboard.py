"""A run's events as TensorBoard's, in the folder `tensorboard` of the run.

    hswish train DATA --model NAME --tensorboard
    tensorboard --logdir runs

step/loss, step/lr             by step
epoch/loss, epoch/top1, ...    by epoch: the numbers of metrics.jsonl
class/NAME                     IoU (or recall) of each class by epoch
predictions                    the page of predictions
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hswish.spec.errors import MissingPackageError
from hswish.train.reporter import Reporter

_EVERY = 10
"""Steps between two points of a curve."""


class TensorBoard(Reporter):
    """Writes events; a run that goes on hides what was written of steps that are made again.

    Raises:
        MissingPackageError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingPackageError("tensorboard", "tensorboard", "--tensorboard") from error
        self._open = SummaryWriter
        self._writer: Any = None
        self._folder = Path()
        self._step = 0

    def start_run(self, run: Path) -> None:
        self._folder = run / "tensorboard"

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        self._step = (epoch - 1) * steps + done
        if self._writer is None:
            self._writer = self._open(str(self._folder), purge_step=self._step + 1)

    def step(self, pictures: int, loss: float, lr: float) -> None:
        self._step += 1
        if self._step % _EVERY == 0:
            self._writer.add_scalar("step/loss", loss, self._step)
            self._writer.add_scalar("step/lr", lr, self._step)

    def end_epoch(self, row: dict[str, Any]) -> None:
        """By step as well, so that all curves have one axis."""
        for key, value in row.items():
            if key != "epoch" and isinstance(value, (int, float)):
                self._writer.add_scalar(f"epoch/{key}", value, self._step)
        for name, value in row.get("per_class", {}).items():
            if value is not None:
                self._writer.add_scalar(f"class/{name}", value, self._step)
        self._writer.flush()

    def drawn(self, epoch: int, picture: Path) -> None:
        if self._writer is not None:
            with Image.open(picture) as image:
                self._writer.add_image("predictions", np.asarray(image.convert("RGB")), self._step, dataformats="HWC")

    def end_run(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
