"""A run's events as TensorBoard's, in the folder `tensorboard` of the run.

    hswish train DATA --model NAME --tensorboard
    tensorboard --logdir runs

step/loss, step/lr             by step
epoch/loss, epoch/top1, ...    by epoch: the numbers of metrics.jsonl
class/NAME                     IoU (or recall) of each class by epoch
predictions                    the page of predictions
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hswish.evaluate.lettering import drawable
from hswish.spec.errors import MissingPackageError
from hswish.spec.files import explain_os_error
from hswish.train.reporter import Reporter

_WRITING_THREAD = "_AsyncWriterThread"
_EVERY = 10
"""Steps between two points of a curve."""


class TensorBoard(Reporter):
    """Writes events; a run that goes on hides what was written of steps that are made again.

    What cannot be written is never the reason for a run to end: it is said once, and no more is written.

    Args:
        said: is given that sentence.

    Raises:
        MissingPackageError: tensorboard is not installed.
    """

    def __init__(self, said: Callable[[str], object] | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingPackageError("tensorboard", "tensorboard", "--tensorboard") from error
        self._open = SummaryWriter
        self._writer: Any = None
        self._failed = False
        self._said = said
        self._hook = threading.excepthook
        self._folder = Path()
        self._step = 0

    def start_run(self, run: Path) -> None:
        self._folder = run / "tensorboard"
        threading.excepthook = self._thread_failed

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        self._step = (epoch - 1) * steps + done
        with self._writing():
            if self._writer is None and not self._failed:
                self._writer = self._open(str(self._folder), purge_step=self._step + 1)

    def step(self, pictures: int, loss: float, lr: float) -> None:
        self._step += 1
        if self._step % _EVERY == 0:
            self._add({"step/loss": loss, "step/lr": lr})

    def end_epoch(self, row: dict[str, Any]) -> None:
        """By step as well, so that all curves have one axis."""
        figures = {f"epoch/{key}": value for key, value in row.items() if isinstance(value, (int, float))}
        figures |= {
            f"class/{drawable(name)}": value for name, value in row.get("per_class", {}).items() if value is not None
        }
        figures.pop("epoch/epoch", None)
        self._add(figures)
        with self._writing():
            if self._writer is not None:
                self._writer.flush()

    def drawn(self, epoch: int, picture: Path) -> None:
        with self._writing(), Image.open(picture) as image:
            if self._writer is not None:
                self._writer.add_image("predictions", np.asarray(image.convert("RGB")), self._step, dataformats="HWC")

    def end_run(self) -> None:
        with self._writing():
            if self._writer is not None:
                self._writer.close()
        self._writer = None
        threading.excepthook = self._hook

    def _thread_failed(self, about: threading.ExceptHookArgs) -> None:
        """An error of the thread that writes comes again at the next call; others are not ours."""
        if not issubclass(about.exc_type, OSError) or type(about.thread).__name__ != _WRITING_THREAD:
            self._hook(about)

    def _add(self, figures: dict[str, float]) -> None:
        with self._writing():
            for name, value in figures.items() if self._writer is not None else ():
                self._writer.add_scalar(name, value, self._step)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # also of the thread that writes, told at the next call
            self._writer, self._failed = None, True
            if self._said is not None:
                self._said(f"no more of TensorBoard's events are written: {explain_os_error(error)}")
