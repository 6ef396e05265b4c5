"""What a run needs, before anything of it is written: contradictions are found there, not in the first epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from hswish.spec.errors import OptionError
from hswish.train import Recipe, train

FAST = Recipe(epochs=1, batch_size=4, height=32)


def test_a_stride_past_the_input_is_found_before_training(squares: Path, tmp_path: Path) -> None:
    """48x64 pictures at 32 rows: a grid of every 64th would mostly lie outside, and the loss be nought."""
    changes = {"loss.stride": 64}
    with pytest.raises(OptionError, match=r"loss\.stride=64 .*32x\d+ pixels"):
        train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, changes=changes, workers=0)
    assert not (tmp_path / "run").exists()
