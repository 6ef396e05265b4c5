"""The plan builder under attack: whatever it is given, it raises ValueError (or TypeError) or runs."""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.native.conftest import BF16_LEVELS, FLOAT_LEVELS

Layer = tuple[np.ndarray, np.ndarray]


def layer(*shape: int, bias: int | None = None) -> Layer:
    return np.ones(shape, np.float32), np.ones(shape[0] if bias is None else bias, np.float32)


class Maker:
    """A plan with one of each step, to be spoilt by a test."""

    def __init__(self, engine: ModuleType, level: str = "generic", halves: bool = False) -> None:
        self.plan = engine.Plan(level, 2, halves)
        self.stem = self.plan.stem(layer(16, 3, 3, 3), 2, "relu", False)

    def block(self, **changes: Any) -> tuple[int, int]:
        arguments: dict[str, Any] = {
            "input": self.stem,
            "expand": layer(24, 16),
            "depthwise": layer(24, 3, 3),
            "se": (layer(8, 24), layer(24, 8), "relu", False),
            "project": layer(16, 24),
            "stride": 1,
            "dilation": 1,
            "act": "relu",
            "residual": True,
            "same": False,
        }
        made = self.plan.block(**{**arguments, **changes})
        assert isinstance(made, tuple)
        return made


@pytest.fixture
def maker(engine: ModuleType) -> Maker:
    return Maker(engine)


WRONG_BLOCKS: list[dict[str, Any]] = [
    {"input": -1},
    {"input": 1},
    {"input": 2**31 - 1},
    {"expand": None},
    {"expand": layer(24, 8)},
    {"expand": layer(32, 16)},
    {"expand": layer(24, 16, bias=8)},
    {"expand": layer(24, 16, 1)},
    {"expand": layer(0, 16)},
    {"expand": layer(24, 0)},
    {"depthwise": layer(24, 7, 7)},
    {"depthwise": layer(24, 3, 5)},
    {"depthwise": layer(20, 3, 3)},
    {"depthwise": layer(24, 3, 3, bias=16)},
    {"se": (layer(8, 16), layer(24, 8), "relu", False)},
    {"se": (layer(4096, 24), layer(24, 8), "relu", False)},
    {"se": (layer(8, 24), layer(16, 8), "relu", False)},
    {"se": (layer(8, 24), layer(24, 8), "gelu", False)},
    {"project": layer(16, 16)},
    {"project": layer(24, 24)},
    {"stride": 2},
    {"stride": 0},
    {"stride": -1},
    {"dilation": 3},
    {"stride": 2, "residual": False, "dilation": 2},
    {"act": "none"},
    {"act": ""},
    {"stem": (layer(16, 3, 3, 3), 2, "relu")},
    {"stem": (layer(16, 4, 3, 3), 2, "relu"), "expand": None, "depthwise": layer(16, 3, 3), "se": None,
     "project": layer(16, 16), "residual": False},
    {"stem": (layer(64, 3, 3, 3), 2, "relu"), "expand": None, "depthwise": layer(64, 3, 3), "se": None,
     "project": layer(16, 64), "residual": False},
]  # fmt: skip


@pytest.mark.parametrize("changes", WRONG_BLOCKS, ids=lambda changes: "+".join(changes))
def test_blocks_that_do_not_fit(maker: Maker, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        maker.block(**changes)
    assert maker.block()[0] == 1, "the refused step left nothing behind"


def test_stems_that_do_not_fit(engine: ModuleType) -> None:
    for arguments in (
        (layer(16, 3, 5, 5), 2, "relu", False),
        (layer(16, 3, 3), 2, "relu", False),
        (layer(16, 0, 3, 3), 2, "relu", False),
        (layer(16, 3, 3, 3), 3, "relu", False),
        (layer(16, 3, 3, 3), 2, "none", False),
        (layer(16, 3, 3, 3, bias=15), 2, "relu", False),
    ):
        with pytest.raises(ValueError, match=r"."):
            engine.Plan("generic", 1).stem(*arguments)
    for level, threads in (("sse9", 1), ("", 1), ("generic", 0), ("generic", -1), ("generic", 257)):
        with pytest.raises(ValueError, match=r"."):
            engine.Plan(level, threads)


def test_other_steps_that_do_not_fit(maker: Maker) -> None:
    plan, stem = maker.plan, maker.stem
    small = plan.pointwise(stem, layer(8, 16), "none")
    mean = plan.mean(stem)
    for call in (
        lambda: plan.pointwise(stem, layer(8, 24), "none"),
        lambda: plan.pointwise(99, layer(8, 16), "none"),
        lambda: plan.pointwise(stem, layer(8, 16), "swish"),
        lambda: plan.deep(stem, layer(32, 24), "relu", layer(8, 32), "relu"),
        lambda: plan.deep(stem, layer(32, 16), "relu", layer(8, 24), "relu"),
        lambda: plan.deep(99, layer(32, 16), "relu", layer(8, 32), "relu"),
        lambda: plan.mean(stem, -1),
        lambda: plan.mean(stem, 3, 0, 1),
        lambda: plan.mean(stem, 3, 1, -2),
        lambda: plan.gate(stem, small, True),
        lambda: plan.join(stem, small, False, "none"),
        lambda: plan.join(stem, stem, False, "hard_swish"),
        lambda: plan.answer(stem, 3),
        lambda: plan.answer(mean, 0),
        lambda: plan.answer(mean, 17),
        lambda: plan.answer(mean, -1),
        lambda: plan.scores(stem, 17, False),
        lambda: plan.scores(stem, 0, False),
        lambda: plan.at(32, 32),  # no answer yet
    ):
        with pytest.raises(ValueError, match=r"."):
            call()
    plan.answer(mean, 5)
    with pytest.raises(ValueError, match="no further than its answer"):
        plan.mean(stem)
    for size in ((0, 5), (5, -1), (65537, 1), (2**62, 2**62)):
        with pytest.raises((ValueError, MemoryError)):
            plan.at(*size)


def test_runs_that_do_not_fit(maker: Maker, engine: ModuleType) -> None:
    plan = maker.plan
    x, out = np.zeros((2, 3, 16, 24), np.float32), np.zeros((2, 5), np.float32)
    with pytest.raises(ValueError, match="not made for an input size"):
        plan.run(x, out)
    plan.answer(plan.mean(maker.stem), 5)
    ready = plan.at(16, 24)
    assert ready.run(x, out)
    table = np.zeros((3, 256), np.float32)
    pixels = np.zeros((2, 16, 24, 3), np.uint8)
    assert ready.run(pixels, out, table)
    read_only = np.zeros((2, 5), np.float32)
    read_only.flags.writeable = False
    for arguments in (
        (x[:, :2], out),
        (x[:, :, :8], out),
        (x[0], out),
        (x.astype(np.float64), out),
        (x, out[:1]),
        (x, np.zeros((2, 6), np.float32)),
        (x, np.zeros((2, 5), np.float64)),
        (x, np.zeros((2, 16, 24), np.uint8)),  # a classifier makes no masks
        (x, np.zeros((5, 2), np.float32).T),
        (x, read_only),
        (x, out, table),
        (pixels, out),
        (pixels, out, table[:2]),
        (pixels, out, table[:, :255]),
        (pixels.transpose(0, 3, 1, 2), out, table),
        (None, out),
    ):
        with pytest.raises((ValueError, TypeError)):
            ready.run(*arguments)
    with pytest.raises(ValueError, match="one repeat or more"):
        ready.profile(x, out, None, 0)
    assert [kind for kind, ms in ready.profile(x, out)] == ["stem", "mean", "answer"]


def test_a_mask_needs_few_classes(maker: Maker) -> None:
    plan = maker.plan
    plan.scores(plan.pointwise(maker.stem, layer(300, 16), "none"), 300, False)
    ready = plan.at(8, 8)
    x = np.zeros((1, 3, 8, 8), np.float32)
    assert ready.run(x, np.zeros((1, 300, 8, 8), np.float32))
    with pytest.raises(ValueError, match="no masks"):
        ready.run(x, np.zeros((1, 8, 8), np.uint8))


ids = st.integers(-2, 6)
widths = st.sampled_from([1, 7, 8, 16, 24, 40])
small = st.integers(-1, 5)
acts = st.sampled_from(["none", "relu", "hard_swish", "tanh"])
layers = st.builds(layer, widths, widths)
steps = st.one_of(
    st.tuples(st.just("pointwise"), ids, layers, acts, st.booleans()),
    st.tuples(st.just("mean"), ids, small, small, small),
    st.tuples(st.just("gate"), ids, ids, st.booleans()),
    st.tuples(st.just("join"), ids, ids, st.booleans(), acts, st.booleans()),
    st.tuples(st.just("stem"), st.builds(lambda n, c, k: layer(n, c, k, k), widths, small.map(abs), small.map(abs)),
              small, acts, st.booleans()),
    st.tuples(
        st.just("block"), ids, st.none() | layers, st.builds(lambda n, k: layer(n, k, k), widths, st.integers(2, 6)),
        st.none() | st.tuples(layers, layers, acts, st.booleans()), layers, small, small, acts,
        st.booleans(), st.booleans(), st.booleans(),
    ),
    st.tuples(st.just("answer"), ids, small),
    st.tuples(st.just("scores"), ids, small, st.booleans()),
)  # fmt: skip


@pytest.mark.parametrize("level", [*FLOAT_LEVELS, *BF16_LEVELS])
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    wanted=st.lists(steps, max_size=8),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    masks=st.booleans(),
    halves=st.booleans(),
)
def test_plans_at_random(
    engine: ModuleType, level: str, wanted: list[tuple[Any, ...]], size: tuple[int, int], masks: bool, halves: bool
) -> None:
    maker = Maker(engine, level, halves and engine.multiplies_halves(level))
    plan = maker.plan
    for name, *arguments in [*wanted, ("mean", 0, 0, 1, 1)]:
        with contextlib.suppress(ValueError):
            getattr(plan, name)(*arguments)
    with contextlib.suppress(ValueError):  # it may have an answer already
        plan.scores(plan.pointwise(maker.stem, layer(16, 16), "none", True), 8, False)
    ready = plan.at(*size)
    x = np.ones((2, 3, *size), np.float32)
    for shape in (
        (2, *size),
        (2, 8, *size),
        *((2, used) for used in range(1, 6)),
        *((2, k, *size) for k in range(1, 6)),
    ):
        out = np.zeros(shape, np.uint8 if masks and len(shape) == 3 else np.float32)
        with contextlib.suppress(ValueError):
            ready.run(x, out)
