"""The lines of a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hswish.cli.rehearsal import print_rehearsal
from hswish.train import Rehearsal


@pytest.mark.parametrize(
    ("batch_size", "step_size", "steps", "words"),
    [
        (4, 4, 12, "12 steps of 4: "),
        (4, 12, 4, "4 steps of 12 (3 batches of 4): "),
        (512, 48, 1, "1 step of 48: "),  # eight batches of 512, were there so many pictures
    ],
)
def test_a_step_is_said_with_all_of_its_pictures(
    batch_size: int, step_size: int, steps: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Rehearsal(
        picture=Path("dry-run.png"), data="pets", task="classification", model="mobilenet_v3_small",
        pictures={"train": 48, "val": 6}, looked_at={"train": 48, "val": 6}, bad={}, classes={"cat": 24, "dog": 24},
        absent={}, usual_size=(32, 32), input_size=(32, 32), batch_size=batch_size, step_size=step_size, steps=steps,
        epochs=2, validations=2, pictures_per_second=10.0, train_seconds=4.8, val_seconds=1.0, memory_bytes=10**9,
        memory_of="this process", measured_steps=8, losses=(1.0, 0.5),
    )  # fmt: skip
    print_rehearsal(found, as_json=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert line.removeprefix("epoch").strip().startswith(words)
