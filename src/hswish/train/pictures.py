"""The pictures of a run: its curves, its classes over time, and a page of predictions."""

from __future__ import annotations

import time

from hswish.data import DataSource
from hswish.evaluate import class_curves_picture, curves_picture, prediction_page
from hswish.models import DescribedModule, load
from hswish.models.engine import TorchEngine
from hswish.train.reporter import Reporter
from hswish.train.run_folder import RunFolder

_SHARE = 0.05
"""Part of a run's time that drawing may take; the last pictures are drawn in any case."""
_FIRST_SECONDS = 3.0
"""What drawing is expected to take before it has been done once."""


class RunPictures:
    """Draws after validations, as often as is cheap, and at the end. Never the reason for a failure."""

    def __init__(self, run: RunFolder, source: DataSource, reporter: Reporter) -> None:
        self._run, self._source, self._reporter = run, source, reporter
        self._drawn_at, self._cost_seconds = time.monotonic(), _FIRST_SECONDS

    def after_epoch(self, network: DescribedModule, epoch: int) -> None:
        """Draw the state after `epoch`, with the answers of `network`, unless it would cost too much time."""
        if time.monotonic() - self._drawn_at >= self._cost_seconds / _SHARE:
            self._draw(network, epoch)

    def at_end(self) -> None:
        """Draw the whole run, also one that was interrupted, with the answers of its best network."""
        rows = self._run.rows()
        if rows and self._run.best.exists():
            self._draw(None, rows[-1]["epoch"])

    def _draw(self, network: DescribedModule | None, epoch: int) -> None:
        began = time.monotonic()
        try:
            rows = self._run.rows()
            curves_picture(rows, self._run.curves)
            if any(row.get("per_class") for row in rows):
                class_curves_picture(rows, self._run.classes)
            engine = TorchEngine(load(self._run.best) if network is None else network)
            prediction_page(engine, self._source, "val", self._run.predictions)
            self._reporter.drawn(epoch, self._run.predictions)
        except (Exception, KeyboardInterrupt) as error:
            self._reporter.note(f"no pictures of this run: {error or type(error).__name__}")
        self._drawn_at = time.monotonic()
        self._cost_seconds = self._drawn_at - began
