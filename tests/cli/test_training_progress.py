"""The time left, which a resumed run must not take from the rest of an epoch as if that were all of it."""

from __future__ import annotations

import pytest

from hswish.cli import training_progress
from hswish.cli.training_progress import TrainingProgress


@pytest.mark.parametrize(("done", "left"), [(0, "6:40"), (75, "26:40")])
def test_time_left_counts_the_part_of_an_epoch_that_was_run(
    done: int, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now[0])
    progress = TrainingProgress()
    progress.start_epoch(6, 10, 100, done)
    now[0] += 100  # for what was left of epoch 6; four more are to come
    progress.end_epoch({"epoch": 6, "loss": 1.0, "pictures_per_second": 8.0})
    assert f"  {left} left" in capsys.readouterr().err


def test_no_time_is_left_by_an_epoch_of_which_nothing_was_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The run was stopped in the validation of epoch 6: what it took says nothing of the epochs to come."""
    progress = TrainingProgress()
    progress.start_epoch(6, 10, 100, 100)
    progress.end_epoch({"epoch": 6, "loss": 1.0, "top1": 0.5, "pictures_per_second": 0.0})
    assert capsys.readouterr().err == "epoch 6/10  loss 1.0000  top1 0.5000  0 pictures/s\n"


def test_an_epoch_whose_steps_were_all_skipped_has_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress()
    progress.start_epoch(1, 4, 100, 0)
    progress.end_epoch({"epoch": 1, "lr": 0.1, "pictures_per_second": 0.0})
    assert capsys.readouterr().err.startswith("epoch 1/4  0 pictures/s  ")


def test_an_epoch_without_a_validation_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress()
    progress.start_epoch(1, 4, 100, 0)
    progress.end_epoch({"epoch": 1, "loss": 1.25, "lr": 0.1, "pictures_per_second": 8.0})
    assert "epoch 1/4  loss 1.2500  8 pictures/s  " in capsys.readouterr().err
