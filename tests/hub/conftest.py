"""A cache of each test's own, and a model to move about."""

from __future__ import annotations

from pathlib import Path

import pytest

import hswish


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """No test of this folder touches the user's cache."""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A small classifier of two classes, with a figure and a licence."""
    model = hswish.create_model("mobilenet_v3_small", num_classes=2, width_mult=0.25)
    model.describe(
        classes=("cat", "dog"),
        metrics={"val": {"top1": 0.875, "top5": 1.0, "epoch": 3}},
        provenance={"data": "pets", "recipe": "classify", "licence": "Apache-2.0"},
    )
    path = tmp_path / "model.safetensors"
    hswish.save(model, path)
    return path
