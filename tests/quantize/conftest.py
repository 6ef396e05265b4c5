"""Small networks as graphs, with batches of pictures that they were not trained on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hswish.export.trace import trace
from hswish.quantize import Passes
from hswish.spec.graph import Graph
from tests.contract.networks import SIZE, network, pictures

NAMES = ("mobilenet_v3_small", "lraspp_mobilenet_v3_small", "mobilenet_v3_large_minimal")
NAIVE = Passes(repair=False, equalise=False, fit_ranges=False, fit_weights=False, correct_bias=False)
"""The usual quantiser: extremes and largest weights."""


@cache
def graph_of(name: str, **options: Any) -> Graph:
    """A network's graph; nobody changes it."""
    return trace(network(name, **options), SIZE)


@cache
def batch_of(count: int = 8, seed: int = 0) -> NDArray[np.float32]:
    """(count, 3, H, W): preprocessed pictures."""
    return np.stack([network(NAMES[0]).preprocess(picture) for picture in pictures(count, seed)])


@pytest.fixture(params=NAMES)
def graph(request: pytest.FixtureRequest) -> Graph:
    return graph_of(request.param)


@pytest.fixture
def batch() -> NDArray[np.float32]:
    return batch_of()
