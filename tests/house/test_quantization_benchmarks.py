"""The benchmarks of 8 bits: passes beside each other, and ours beside the runtimes' own quantisers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("sklearn")

from benchmarks import passes, quantizers
from hswish.data import open_data
from hswish.models import create_model
from hswish.models.described import DescribedModule
from hswish.quantize import Passes
from hswish.spec.preprocess import Preprocess


@pytest.fixture(scope="module")
def model() -> DescribedModule:
    torch.manual_seed(0)
    made = create_model("mobilenet_v3_small", num_classes=10, width_mult=0.35)
    assert isinstance(made, DescribedModule)
    made.describe(preprocess=Preprocess(height=32, width=32, resize="stretch"))
    return made.eval()


def test_every_pass_is_tried_alone_and_left_out_once() -> None:
    found = dict(passes.choices())
    assert len(found) == 2 + 2 * len(passes.NAMES)
    assert found["all"] == Passes()
    assert not any(vars(found["none"]).values())


def test_a_row_of_passes(model: DescribedModule) -> None:
    comparison = passes.Comparison(model, open_data("digits"), "onnx", pictures=4, limit=8)
    (row,) = passes.rows(comparison, ["all"])
    assert 0 <= row.divergence < 0.1
    assert 0 <= row.score <= 1
    assert (comparison.row("again", Passes()).divergence, row.passes) == (row.divergence, "all")


def test_ours_and_theirs_are_judged_alike(model: DescribedModule, tmp_path: Path) -> None:
    comparison = quantizers.Comparison(model, open_data("digits"), 8, 1)
    rows = comparison.rows("onnx", tmp_path)
    assert [row.quantiser.split(",")[0] for row in rows] == ["hswish"] + ["quantize_static"] * 3
    assert len({row.float_score for row in rows}) == 1
    for row in rows:
        assert row.points_lost == pytest.approx(100 * (row.float_score - row.score))
        assert row.times_faster == pytest.approx(row.float_ms / row.ms, rel=0.01)
