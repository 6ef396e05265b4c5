"""The benchmarks of 8 bits: passes beside each other, and ours beside the runtimes' own quantisers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("sklearn")

from benchmarks import passes, quantizers
from hswish.data import open_data
from hswish.models import create_model
from hswish.models.described import DescribedModule
from hswish.quantize import Passes
from hswish.quantize.finetune import Finetuning
from hswish.quantize.pipeline import round_all
from hswish.quantize.places import readers_of
from hswish.quantize.ranges import needed
from hswish.spec.graph import Graph
from hswish.spec.preprocess import Preprocess
from hswish.spec.quantized import QuantizedGraph


@pytest.fixture(scope="module")
def model() -> DescribedModule:
    torch.manual_seed(0)
    made = create_model("mobilenet_v3_small", num_classes=10, width_mult=0.35)
    assert isinstance(made, DescribedModule)
    made.describe(preprocess=Preprocess(height=32, width=32, resize="stretch"))
    return made.eval()


@pytest.fixture(scope="module")
def comparison(model: DescribedModule) -> passes.Comparison:
    with torch.inference_mode():
        return passes.Comparison(model, open_data("digits"), "onnx", pictures=2, limit=4, calibrate=16)


def test_every_pass_is_tried_alone_and_left_out_once() -> None:
    found = dict(passes.choices())
    assert len(found) == 2 + 2 * len(passes.NAMES)
    assert found["all"] == Passes()
    assert not any(vars(found["none"]).values())
    assert len(dict(passes.choices(alone=False))) == 2 + len(passes.NAMES)


def test_a_row_of_passes(model: DescribedModule) -> None:
    comparison = passes.Comparison(model, open_data("digits"), "onnx", pictures=4, limit=8, calibrate=32)
    exact, row = passes.rows(comparison, ["all", "float32"])
    assert comparison.seen.count == 32
    assert (exact.divergence, exact.agreement) == (0, 1)
    assert 0 < row.divergence < 0.1
    assert 0 <= row.score <= 1
    assert (comparison.row("again", Passes()).divergence, row.passes) == (row.divergence, "all")


def test_choices_share_what_does_not_tell_them_apart(comparison: passes.Comparison) -> None:
    whole, unfitted = comparison.prepared(Passes()), comparison.prepared(Passes(fit_weights=False))
    assert whole.seen is unfitted.seen
    assert not unfitted.passes.fit_weights
    assert comparison.prepared(Passes(equalise=False)).seen is not whole.seen


def test_without_exact_clipping_ranges_are_those_of_the_data(comparison: passes.Comparison) -> None:
    prepared = comparison.prepared(passes.NONE)
    exact = round_all(prepared, comparison.scheme).values
    plain = passes.round_unclipped(prepared, comparison.scheme).values
    readers = readers_of(prepared.graph)
    clipped = {name for name in exact if needed(readers[name]) != (-np.inf, np.inf)}
    assert clipped
    assert {name for name in exact if exact[name] != plain[name]} <= clipped
    for name in clipped:
        held = plain[name]
        assert held.low == pytest.approx(min(prepared.seen[name].low, 0), abs=held.scale)
        assert held.high == pytest.approx(max(prepared.seen[name].high, 0), abs=held.scale)
        if needed(readers[name]) == (-3.0, np.inf):
            assert exact[name].low == pytest.approx(-3)
            assert plain[name] != exact[name]


def test_fold_and_pad_change_no_answer(model: DescribedModule, comparison: passes.Comparison) -> None:
    with torch.inference_mode():
        for found in (comparison.fold(), comparison.pad()):
            assert found is not None
            assert found.difference < 1e-5
            assert min(found.before_ms, found.after_ms) > 0
    litert = passes.Comparison(model, open_data("digits"), "litert", pictures=1, limit=1, calibrate=16)
    assert litert.pad() is None


def test_the_worst_layers_stay_in_float32(comparison: passes.Comparison) -> None:
    with torch.inference_mode():
        worst = comparison.worst()
        names = [f"{count} worst in float32" for count in passes.KEPT]
        assert [row.passes for row in passes.rows(comparison, names, worst=worst)] == names
        all_rounded, kept = comparison.rounded(Passes()).net, comparison.kept([worst[0].layer]).net
        assert all_rounded.scales.keys() - kept.scales.keys() == {worst[0].layer}


def test_fine_tuning_learns_so_many_steps(comparison: passes.Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def noted(net: QuantizedGraph, exact: Graph, batches: object, settings: Finetuning) -> QuantizedGraph:
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()  # where nothing could be learnt
        steps.append(settings.steps)
        return net

    monkeypatch.setattr(passes, "finetune", noted)
    with torch.inference_mode():
        found = list(passes.rows(comparison, [passes.TUNED], steps=7))
        assert not list(passes.rows(comparison, [passes.TUNED]))
    assert ([row.passes for row in found], steps) == ([passes.TUNED], [7])


def test_models_stand_side_by_side() -> None:
    row = passes.Row(passes="all", score=0.5, divergence=0.00123, agreement=0.75)
    exact = passes.Exact(difference=2e-7, before_ms=2.0, after_ms=1.5)
    worst = tuple(passes.LayerError(layer=f"stem{place}", error=0.1) for place in range(3))
    one = passes.Report(
        model="one", format="onnx", calibration=16, rows=(row,), worst=worst, fold=exact, pad=None, seconds=1.0
    )
    text = passes.markdown([one, replace(one, model="two", pad=exact)])
    assert text.count("| | one | two |") == 3
    assert "| all | 0.5000, 1.23 | 0.5000, 1.23 |" in text
    assert "| pad | - | 2.00, 1.50, 2e-07 |" in text
    assert "| 1 | stem0, 1.0e-01 | stem0, 1.0e-01 |" in text


def test_the_zoo_is_measured_by_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int, int]] = []

    class ToldError(Exception): ...

    def report(name: str, data: str, given: argparse.Namespace) -> passes.Report:
        asked.append((name, data, given.limit, given.pictures))
        if len(asked) == 4:
            raise ToldError
        return passes.Report(
            model=name,
            format="onnx",
            calibration=1,
            rows=(),
            worst=(),
            fold=None,
            pad=None,
            seconds=1.0,  # type: ignore[arg-type]
        )

    monkeypatch.setattr(passes, "report", report)
    with pytest.raises(ToldError):
        passes.main(["--zoo", "CIFAR10", "CAMVID", "--limit", "5", "5", "7", "7"])
    assert [(name.split(".")[1], data, limit) for name, data, limit, _ in asked] == [
        ("cifar10", "CIFAR10", 5),
        ("cifar10", "CIFAR10", 5),
        ("camvid", "CAMVID", 7),
        ("camvid", "CAMVID", 7),
    ]
    assert {pictures for *_, pictures in asked} == {16}


@pytest.mark.parametrize("words", [[], ["model"], ["model", "data", "--limit", "1", "2"]])
def test_what_fits_no_model_is_refused_in_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        passes.main(words)
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_ours_and_theirs_are_judged_alike(model: DescribedModule, tmp_path: Path) -> None:
    comparison = quantizers.Comparison(model, open_data("digits"), 8, 1)
    rows = comparison.rows("onnx", tmp_path)
    assert [row.quantiser.split(",")[0] for row in rows] == ["hswish"] + ["quantize_static"] * 3
    assert len({row.float_score for row in rows}) == 1
    for row in rows:
        assert row.points_lost == pytest.approx(100 * (row.float_score - row.score))
        assert row.times_faster == pytest.approx(row.float_ms / row.ms, rel=0.01)
