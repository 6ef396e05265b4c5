"""Starting from trained weights: what is copied, what is drawn afresh, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hswish.models import DescribedModule, create_model, load, save
from hswish.spec.errors import OptionError
from hswish.train import Recipe, train
from hswish.train.transfer import transfer


def network(name: str, seed: int, **options: object) -> DescribedModule:
    torch.manual_seed(seed)
    model = create_model(name, **{"num_classes": 2, "width_mult": 0.5, **options})
    assert isinstance(model, DescribedModule)
    return model


@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("reduced_tail", [True, False])
def test_a_segmenter_starts_from_its_backbones_classifier(size: str, reduced_tail: bool) -> None:
    start = network(f"mobilenet_v3_{size}", 1, num_classes=7)
    model = network(f"lraspp_mobilenet_v3_{size}", 2, reduced_tail=reduced_tail)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = transfer(start, model, model.classes, "start")
    assert said.endswith("drawn afresh: head, last stage" if reduced_tail else "drawn afresh: head")
    source = start.state_dict()
    kept, copied = [], []
    for name, value in model.state_dict().items():
        (kept if name not in source or source[name].shape != value.shape else copied).append(name)
        assert torch.equal(value, before[name] if name in kept else source[name]), name
    assert len(copied) > 0.7 * sum(name.startswith("backbone.") for name in before)
    assert reduced_tail == any(name.startswith("backbone.") for name in kept)


def test_other_networks_are_refused_with_the_remedy() -> None:
    model = network("lraspp_mobilenet_v3_small", 0)
    with pytest.raises(OptionError, match="use --model mobilenet_v3_large; or start from a mobilenet_v3_small"):
        transfer(network("mobilenet_v3_large", 0), model, model.classes, "start")
    with pytest.raises(OptionError, match="--width-mult"):
        transfer(network("mobilenet_v3_small", 0, width_mult=0.35), model, model.classes, "start")
    with pytest.raises(OptionError, match=r"use --model lraspp_mobilenet_v3_small$"):
        transfer(model, network("mobilenet_v3_small", 0), model.classes, "start")


def test_training_a_segmenter_from_a_classifier(squares: Path, tmp_path: Path) -> None:
    """Width and normalisation are the classifier's, the input size is the data's."""
    start = network("mobilenet_v3_small", 1)
    start.describe(preprocess=type(start.preprocess)(height=96, width=96, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)))
    save(start, tmp_path / "start.safetensors")
    recipe = Recipe(epochs=1, batch_size=4, lr=0.0, ema_decay=0.0)
    file = tmp_path / "start.safetensors"
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, weights=file, workers=0)
    made = load(result.best)
    assert made.architecture.options.width_mult == 0.5
    assert (made.preprocess.mean, made.preprocess.height, made.preprocess.width) == ((0.5, 0.4, 0.3), 48, 64)
    assert torch.equal(made.state_dict()["backbone.stem.conv.weight"], start.state_dict()["backbone.stem.conv.weight"])
