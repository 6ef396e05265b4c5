"""What a network says about itself can always be written and read back."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from hswish.models import DescribedModule, create_model, list_models
from hswish.spec.artifact import Description
from hswish.spec.errors import OptionError
from hswish.spec.preprocess import Preprocess


def described(name: str = "mobilenet_v3_small", **options: Any) -> DescribedModule:
    model = create_model(name, **{"width_mult": 0.1, "num_classes": 3, **options})
    assert isinstance(model, DescribedModule)
    return model


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_a_fresh_network_has_a_description_that_fits(name: str, in_channels: int) -> None:
    model = described(name, in_channels=in_channels)
    assert model.classes == ("0", "1", "2")
    assert model.preprocess.channel_count == (1 if in_channels == 1 else 3)
    assert Description.from_json(model.description.to_json()) == model.description
    assert model.description.architecture() == model.architecture


def test_fields_are_set_and_the_others_stay() -> None:
    model = described()
    preprocess = Preprocess(height=32, width=48, resize="stretch")
    model.describe(classes=["cat", "dog", "ünïcode\n'\""], preprocess=preprocess)
    model.describe(metrics={"val": {"top1": 0.5}})
    assert model.classes == ("cat", "dog", "ünïcode\n'\"")
    assert model.preprocess == preprocess
    assert model.description.metrics == {"val": {"top1": 0.5}}
    assert copy.deepcopy(model).description == model.description


def test_the_callers_table_is_not_kept() -> None:
    model, metrics = described(), {"val": {"top1": 0.5}}
    model.describe(metrics=metrics)
    metrics["val"]["top1"] = 1.0
    assert model.description.metrics["val"]["top1"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a", "b")}, "2 class names for a network with 3 outputs"),
        ({"classes": ("a", "b", 3)}, "classes"),
        ({"preprocess": Preprocess(height=8, width=8, channels="L", mean=(0.5,), std=(0.5,))}, "channels"),
        ({"metrics": {"top1": np.float32(0.5)}}, "JSON"),
        ({"provenance": [1]}, "provenance must be an object"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_no_file_could_hold_is_refused_and_changes_nothing(changes: dict[str, Any], message: str) -> None:
    model = described()
    before = model.description
    with pytest.raises(OptionError, match=message):
        model.describe(**changes)
    assert model.description is before
