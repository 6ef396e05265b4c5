"""h-swish on bytes by operations that integer runtimes have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hswish.quantize import Passes, Scheme, quantize
from hswish.quantize.ranges import from_minus_three
from hswish.quantize.reference import activation
from hswish.quantize.splitting import FACTOR, factors, six
from hswish.spec.quantized import LEVELS, Range
from tests.quantize.conftest import NAIVE, batch_of, graph_of

BETWEEN = Scheme(fused=frozenset({"relu"}), fused_add=False, squeeze="int8")
"""Bytes stand between a convolution and its h-swish."""
CODES = np.arange(LEVELS + 1, dtype=np.uint8)

ranges = st.builds(Range.over, st.floats(-3, 0), st.floats(0.01, 60))


@given(held=ranges)
def test_the_bytes_of_x_are_those_of_x_plus_three(held: Range) -> None:
    found = from_minus_three(held)
    assert found.low == pytest.approx(-3, abs=1e-5)
    assert found.high >= held.high - 1e-4
    assert found.scale < 1.3 * (held.high + 3) / LEVELS, "as few steps fewer as it takes"
    other = Range(scale=found.scale, zero_point=0)
    np.testing.assert_allclose(other.real(CODES), found.real(CODES) + 3, rtol=1e-5, atol=1e-4)


@given(held=ranges)
def test_a_cut_and_a_product_of_bytes_are_six_times_h_swish(held: Range) -> None:
    found = from_minus_three(held)
    top = six(found)
    cut = CODES if top is None else np.minimum(CODES, np.uint8(top))
    product = found.real(CODES) * Range(scale=found.scale, zero_point=0).real(cut)
    np.testing.assert_allclose(product, 6 * activation("hard_swish", found.real(CODES)), rtol=1e-4, atol=1e-4)


def test_what_h_swish_alone_reads_begins_at_minus_three() -> None:
    graph = graph_of("mobilenet_v3_small")
    for passes in (NAIVE, Passes()):
        net = quantize(graph, [batch_of()], BETWEEN, passes)
        read = {node.inputs[0] for node in graph.nodes if getattr(node, "kind", "") == "hard_swish"}
        assert read <= set(net.values)
        assert all(net.values[name].low == pytest.approx(-3, abs=1e-5) for name in read)


def test_a_factor_of_six_goes_as_far_as_the_next_layers() -> None:
    graph = graph_of("mobilenet_v3_small")
    net = quantize(graph, [batch_of()], BETWEEN, NAIVE)
    found = factors(net)
    block = "backbone.blocks.4"
    assert found[f"{block}.depthwise.act"] == FACTOR
    assert found[f"{block}.se.pool"] == FACTOR
    assert f"{block}.project.conv" not in found
    assert f"{block}.se.gate" not in found
    assert set(found.values()) == {FACTOR}
    assert not factors(quantize(graph, [batch_of()], passes=NAIVE)), "where h-swish is fused nothing is split"


def test_h_swish_of_bytes_that_begin_elsewhere_is_left_whole() -> None:
    graph = graph_of("mobilenet_v3_small")
    net = quantize(graph, [batch_of()], BETWEEN, NAIVE)
    source = "backbone.blocks.4.expand.conv"
    other = replace(net, values={**net.values, source: Range.over(-2.5, 4)})
    assert factors(net).keys() - factors(other).keys() == {"backbone.blocks.4.expand.act"}
