"""What the loop says and writes where it does not go as usual."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hswish.spec.errors import OptionError
from hswish.train import Interrupted, Recipe, Reporter, resume, train
from hswish.train import loop as loop_module
from hswish.train.learner import Learner, NotFinite
from hswish.train.loop import share_of_batch

FAST = Recipe(epochs=2, batch_size=8, warmup_epochs=0.5, ema_decay=0.5, lr=5e-3, height=32)
TINY: dict[str, Any] = {"width_mult": 0.35, "workers": 0}


class Rows(Reporter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def end_epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


@pytest.mark.parametrize(
    ("batch_size", "processes", "remedy"),
    [
        (16, 3, "start 2 or 4 of them, or begin a new run with --batch-size 18"),
        (7, 2, "start 1 or 7 of them, or begin a new run with --batch-size 8"),
        (4, 8, "start 4 of them, or begin a new run with --batch-size 8"),
    ],
)
def test_a_batch_that_the_processes_cannot_share(batch_size: int, processes: int, remedy: str) -> None:
    """A run that goes on cannot have another batch size, but other processes."""
    with pytest.raises(OptionError, match=f"batch_size is {batch_size}, no multiple of the {processes} .*; {remedy}$"):
        share_of_batch(batch_size, processes)
    assert share_of_batch(batch_size * processes, processes) == batch_size


def test_a_stop_while_batch_norms_are_measured_anew(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no third epoch of two, and the run goes on from there to its end."""
    plain = loop_module.recalibrate

    def stopped(*given: Any) -> None:
        plain(*given)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "recalibrate", stopped)
        said = "^interrupted after epoch 2, while batch norms were measured anew; go on with: hswish train --resume"
        with pytest.raises(Interrupted, match=said):
            train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes={"bn_batches": 2}, **TINY)
    assert resume(tmp_path / "run").epochs == 2


def test_an_epoch_without_a_step_has_no_loss(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Null is written, and nothing is said: a loss of nought would be the best there is."""
    plain = Learner.step

    def step(self: Learner, batches: Any, number: int, lr: float) -> Any:
        if number < 4:
            raise NotFinite("loss", float("nan"))
        return plain(self, batches, number, lr)

    monkeypatch.setattr(Learner, "step", step)
    log = Rows()
    changes = {"on_nan": "skip"}
    train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, reporter=log, **TINY)
    first, second = (json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    assert (first["loss"], first["passed_over"]) == (None, 4)
    assert second["loss"] > 0
    assert "loss" not in log.rows[0]
    assert log.rows == [{key: value for key, value in first.items() if value is not None}, second]
