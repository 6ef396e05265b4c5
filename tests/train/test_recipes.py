"""Every recipe makes its steps: on stand-in data in the layout of its own, cut down to a moment."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hswish
from hswish.models import create_model
from hswish.spec.architecture import resolve
from hswish.spec.budget import count_multiply_adds
from hswish.train import Recipe, list_recipes, load_recipe, train
from hswish.train.recipe_files import recipe_folder
from tests.standins import make_cityscapes, make_imagenet

SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 4, "height": 32, "width": 32, "warmup_epochs": 0.5, "bn_batches": 2}
TINY: dict[str, Any] = {"width_mult": 0.35, "workers": 0}
SHIPPED = {
    "camvid", "cifar10", "cityscapes", "classify", "digit_scenes", "digits", "finetune", "modern_imagenet",
    "paper_imagenet", "segment", "segment_finetune", "torchvision_imagenet",
}  # fmt: skip


def test_the_list() -> None:
    assert set(list_recipes()) == SHIPPED


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_each_opens_with_command_hardware_time_score_and_source(name: str) -> None:
    text = ast.get_docstring(ast.parse((recipe_folder() / f"{name}.py").read_text()))
    assert text is not None
    assert "hswish train" in text or "-m hswish train" in text
    for words in ("Hardware:", "Time:", "Source:"):
        assert words in text
    assert "Expected:" in text or "Aim:" in text


def run(recipe: str, data: Path, model: str, out: Path, weights: Path | None = None, **changes: Any) -> Recipe:
    """A short run; the recipe as its config holds it."""
    result = train(data, model, out=out, recipe=recipe, changes={**SHORT, **changes}, weights=weights, **TINY)
    assert result.epochs == 2
    assert hswish.load(result.best).description.provenance["recipe"] == recipe
    return Recipe.from_dict(json.loads((out / "config.json").read_text())["recipe"])


@pytest.mark.parametrize("name", ["paper_imagenet", "torchvision_imagenet", "modern_imagenet"])
def test_imagenet(name: str, tmp_path: Path) -> None:
    """In the folders of the challenge, val flat with a mapping file, labels by synset."""
    data = make_imagenet(tmp_path / "imagenet", val="caffe")
    ran = run(name, data, "mobilenet_v3_small", tmp_path / "run")
    assert ran.optimizer == load_recipe(name).optimizer
    assert len(hswish.load(tmp_path / "run/best.safetensors").classes) == 4


def test_cityscapes(tmp_path: Path) -> None:
    """In the archives' own folders, with label ids mapped to the 19 classes."""
    data = make_cityscapes(tmp_path / "cityscapes", count=4)
    ran = run("cityscapes", data, "lraspp_mobilenet_v3_small", tmp_path / "run", width=64)
    assert ran.loss == load_recipe("cityscapes").loss
    assert len(hswish.load(tmp_path / "run/best.safetensors").classes) == 19


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Eleven classes in bands, some rare: 6 train and 3 val pictures of 48x64."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 6, "val": 3}.items():
        for index in range(count):
            mask = np.repeat(np.arange(48) // 5, 64).reshape(48, 64).clip(0, 10).astype(np.uint8)
            mask[:, 60:] = 255
            picture = (20 * mask.clip(0, 10)[..., None] + rng.integers(0, 30, (48, 64, 3))).astype(np.uint8)
            for kind, pixels in (("images", picture), ("masks", mask)):
                (tmp_path / "streets" / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "streets" / kind / split / f"{index}.png")
    (tmp_path / "streets/classes.txt").write_text("".join(f"class {number}\n" for number in range(11)))
    return tmp_path / "streets"


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_small", "lraspp_mobilenet_v3_large"])
def test_camvid(name: str, streets: Path, tmp_path: Path) -> None:
    ran = run("camvid", streets, name, tmp_path / "run", width=48)
    assert ran.augment.paste > 0
    assert ran.loss.auxiliary > 0


def test_cifar10(colours: Path, tmp_path: Path) -> None:
    """At 32x32, with the strides that the recipe asks for; a flag may ask for others."""
    run("cifar10", colours, "mobilenet_v3_small", tmp_path / "run")
    model = hswish.load(tmp_path / "run/best.safetensors")
    assert model.architecture.options.keep_size == 2
    assert (model.preprocess.height, model.preprocess.crop_fraction) == (32, 1.0)
    assert json.loads((tmp_path / "run/config.json").read_text())["options"]["keep_size"] == 2
    train(
        colours, "mobilenet_v3_small", out=tmp_path / "other", recipe="cifar10", changes={**SHORT, "epochs": 1},
        keep_size=1, **TINY,
    )  # fmt: skip
    assert hswish.load(tmp_path / "other/best.safetensors").architecture.options.keep_size == 1


@pytest.mark.parametrize(("name", "published"), [("mobilenet_v3_small", 18.48), ("mobilenet_v3_large", 68.45)])
def test_the_budget_of_cifar10_is_the_published_one(name: str, published: float) -> None:
    """Of BSConv's networks, in millions; ours are a little below."""
    recipe = load_recipe("cifar10")
    assert recipe.height is not None
    assert recipe.width is not None
    arch = resolve(name, num_classes=10, **recipe.model_options)
    budget = count_multiply_adds(arch, recipe.height, recipe.width) / 1e6
    assert 0.94 * published < budget < published


@pytest.mark.parametrize("recipe", ["finetune", "segment_finetune"])
def test_fine_tuning(recipe: str, colours: Path, streets: Path, tmp_path: Path) -> None:
    """From weights with other classes, the backbone frozen at first: it moves in the second epoch alone."""
    scenes = recipe.startswith("segment")
    name, data = ("lraspp_mobilenet_v3_small", streets) if scenes else ("mobilenet_v3_small", colours)
    torch.manual_seed(0)
    start = create_model(name, num_classes=5, width_mult=0.35)
    hswish.save(start, tmp_path / "start.safetensors")
    stems = {}
    for frozen in (1, 2):
        out = tmp_path / f"run{frozen}"
        changes = {"finetune.freeze_epochs": frozen, "ema_decay": 0.0, "bn_batches": 0}
        ran = run(recipe, data, name, out, weights=tmp_path / "start.safetensors", **changes)
        assert ran.patience > 0
        state = torch.load(out / "last.ckpt", weights_only=True)["body"]
        stems[frozen] = state["backbone.stem.conv.weight"]
    before = start.state_dict()["backbone.stem.conv.weight"]
    assert torch.equal(stems[2], before)
    assert not torch.equal(stems[1], before)
