"""A run's folder: what is free for a run, and what is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hswish.spec.errors import DataError, SaveError
from hswish.train.run_folder import RunFolder


def test_a_best_model_without_its_run_is_neither_overwritten_nor_called_a_run(tmp_path: Path) -> None:
    """A folder into which only the model was copied: to go on there is refused, so it is no advice."""
    (tmp_path / "best.safetensors").write_bytes(b"weights")
    with pytest.raises(DataError, match="not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(SaveError, match=r"best\.safetensors: would be overwritten.*choose another --out") as told:
        RunFolder.create(tmp_path)
    assert "--resume" not in str(told.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SaveError, match="already holds a run; go on with: hswish train --resume"):
        RunFolder.create(tmp_path)
