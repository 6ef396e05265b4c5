"""What the tests of one adapter after another ask of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hswish.models.adapters import export_state
from hswish.models.adapters.registry import get_adapter
from tests.models.adapters.golden import FOLDER, Golden, formula_input, formula_weights, load_golden, pick
from tests.models.adapters.published import Published, formula_picture, pick_values

TOLERANCE = 1e-4
"""largest difference of a logit, of answers with a standard deviation of 1"""


def every_golden(library: str) -> pytest.MarkDecorator:
    """Run a test for each golden of `library`, as the argument `golden`."""
    paths = sorted(FOLDER.glob(f"{library}-*x*.npz"))
    assert paths, f"no goldens of {library}"
    return pytest.mark.parametrize("golden", [load_golden(path) for path in paths], ids=[path.stem for path in paths])


def golden_of(name: str) -> Golden:
    """One golden, by the name of its file."""
    return load_golden(FOLDER / f"{name}.npz")


def foreign_weights(golden: Golden) -> dict[str, Tensor]:
    """The tensors that the golden's network had, under its library's names and in its layout."""
    return dict(_formula(tuple(golden.shapes.items()), golden.library == "keras", golden.gain))


@lru_cache(maxsize=2)
def _formula(shapes: tuple[tuple[str, tuple[int, ...]], ...], keras: bool, gain: float) -> dict[str, Tensor]:
    """Millions of random numbers, which the tests of one network share; nobody writes into them."""
    weights = formula_weights(dict(shapes), "keras" if keras else "torch", gain=gain)
    return {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}


def check_answers(model: nn.Module, golden: Golden) -> None:
    """The network answers what the library answered, and not the same to any picture."""
    with torch.inference_mode():
        output = model(torch.from_numpy(formula_input(golden.input_shape))).numpy()
    assert output.shape == golden.output_shape
    assert np.abs(pick(output) - golden.answers).max() <= TOLERANCE
    assert golden.answers.std() > 0.5


def check_round_trip(model: nn.Module, library: str, weights: dict[str, Tensor]) -> None:
    """Converted back, every tensor has its name, place, type and value again."""
    check_identical(export_state(model, library), weights)


def check_identical(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names in the same order, with the same shapes, types and values."""
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype, name
        assert state[name].is_contiguous(), name
        assert torch.equal(state[name], tensor), name


def check_published(entry: Published) -> None:
    """`convert` knows these weights by their hash, and prepares a picture as the library's own transforms do."""
    library, rest = entry.source.split(":")
    network = get_adapter(library).network(rest.split(".")[0])
    weights = network.published(rest.split(".")[1])
    assert weights.sha256 == entry.sha256
    prepared = (weights.preprocess or network.preprocess)(formula_picture())
    assert prepared.shape == entry.shape
    # Half a grey level in the largest scale, 1 / 255 / 0.225: Pillow's versions may round differently.
    np.testing.assert_allclose(pick_values(prepared), entry.values, rtol=0, atol=0.5 / 255 / 0.225)


def published_sources(library: str) -> list[str]:
    """`LIBRARY:NETWORK.WEIGHTS` of all published weights that the adapter knows."""
    networks = get_adapter(library).networks
    return sorted(f"{library}:{network.name}.{weights.tag}" for network in networks for weights in network.weights)


def one_line(error: pytest.ExceptionInfo[BaseException], path: Path) -> str:
    """The message of an error, which is a line that names the file."""
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    assert len(text) < 600
    return text
