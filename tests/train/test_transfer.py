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


def test_what_is_taken_from_the_weights_and_what_is_the_runs_own(colours: Path, tmp_path: Path) -> None:
    """The network and what pictures look like to it are the weights'; how it learns and its size are the run's."""
    start = network("mobilenet_v3_small", 1, num_classes=3, bn_momentum=0.3, padding="same")
    seen = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "channels": "BGR", "interpolation": "bicubic"}
    start.describe(preprocess=type(start.preprocess)(height=96, width=96, **seen))
    save(start, tmp_path / "start.safetensors")
    options = {"weights": tmp_path / "start.safetensors", "workers": 0}
    recipe = Recipe(epochs=1, batch_size=12, height=32, width=32, bn_momentum=0.05, model_options={"keep_size": 2})
    made = load(train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, **options).best)
    used = made.architecture.options
    assert (used.bn_momentum, used.keep_size, used.padding, used.width_mult) == (0.05, 2, "same", 0.5)
    assert (made.preprocess.height, made.preprocess.width) == (32, 32)
    assert {name: getattr(made.preprocess, name) for name in seen} == seen


def test_a_recipe_leaves_a_choice_of_the_weights_alone(colours: Path, tmp_path: Path) -> None:
    save(network("mobilenet_v3_small", 1, num_classes=3, keep_size=3), tmp_path / "start.safetensors")
    options = {"weights": tmp_path / "start.safetensors", "workers": 0}
    recipe = Recipe(epochs=1, batch_size=12, height=32, width=32, model_options={"keep_size": 2})
    for name, typed, wanted in (("kept", {}, 3), ("typed", {"keep_size": 1}, 1)):
        made = load(train(colours, "mobilenet_v3_small", out=tmp_path / name, recipe=recipe, **options, **typed).best)
        assert made.architecture.options.keep_size == wanted
