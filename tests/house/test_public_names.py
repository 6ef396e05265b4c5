"""The names that users meet. Adding one is a line here; removing one breaks somebody's code."""

from __future__ import annotations

import pytest

import hswish

PUBLIC_NAMES = [
    "HswishError",
    "Predictor",
    "__version__",
    "create_model",
    "list_models",
    "load",
    "save",
]
MODELS = [
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v3_large_minimal",
    "mobilenet_v3_small_minimal",
    "lraspp_mobilenet_v3_large",
    "lraspp_mobilenet_v3_small",
    "lraspp_mobilenet_v3_large_minimal",
    "lraspp_mobilenet_v3_small_minimal",
]


def test_public_names() -> None:
    assert dir(hswish) == sorted(hswish.__all__) == PUBLIC_NAMES


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_name_is_there_and_documented(name: str) -> None:
    if name in ("create_model", "list_models", "load", "save"):
        pytest.importorskip("torch")
    value = getattr(hswish, name)
    assert isinstance(value, str) or value.__doc__


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hswish.nothing


def test_models() -> None:
    pytest.importorskip("torch")
    assert hswish.list_models() == MODELS
