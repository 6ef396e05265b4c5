"""torchvision's checkpoints: its own answers, exact round trips, its training scripts' files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from hswish.models import create_model, load, save
from hswish.models.adapters import convert, export_file, export_state
from hswish.models.described import DescribedModule
from hswish.spec.errors import ModelFileError, OptionError
from hswish.spec.preprocess import Preprocess
from tests.models.adapters.checks import (
    check_answers,
    check_identical,
    check_published,
    check_round_trip,
    every_golden,
    foreign_weights,
    golden_of,
    published_sources,
)
from tests.models.adapters.golden import Golden
from tests.models.adapters.published import Published, load_published

SMALL = "torchvision-small_10-96x96"
PUBLISHED = load_published("torchvision")


def write(found: Golden, folder: Path) -> Path:
    """The golden's weights as torchvision's users save them."""
    path = folder / "weights.pth"
    torch.save(foreign_weights(found), path)
    return path


def options(found: Golden) -> dict[str, Any]:
    """What must be said, for no tensor shows it."""
    return {"output_stride": 16} if found.arguments.get("dilated") else {}


@every_golden("torchvision")
def test_answers_and_round_trip(golden: Golden, tmp_path: Path) -> None:
    """From the library's name alone: network, classes, width and tail are in the tensors."""
    model = convert("torchvision", write(golden, tmp_path), **options(golden))
    check_answers(model, golden)
    check_round_trip(model, "torchvision", foreign_weights(golden))
    assert model.architecture.name == golden.network
    made = model.architecture.options
    assert made.num_classes == golden.arguments.get("num_classes", 1000)
    assert made.width_mult == golden.arguments.get("width_mult", 1.0)
    assert made.reduced_tail == golden.arguments.get("reduced_tail", False)
    assert model.training is False


def test_stated_options_are_strict(tmp_path: Path) -> None:
    path = write(golden_of("torchvision-small_w050-96x96"), tmp_path)
    source = "torchvision:mobilenet_v3_small"
    assert convert(source, path, width_mult=0.5, reduced_tail=False).architecture.options.width_mult == 0.5
    with pytest.raises(ModelFileError, match=r"with width_mult 0\.75: .* of another shape"):
        convert(source, path, width_mult=0.75)
    with pytest.raises(ModelFileError, match="with reduced_tail True"):
        convert(source, path, reduced_tail=True)
    with pytest.raises(OptionError, match="width_mult: above 0"):
        convert(source, path, width_mult=0.0)
    with pytest.raises(OptionError, match="width_mult cannot be chosen"):
        convert("torchvision:lraspp_mobilenet_v3_large", path, width_mult=0.5)


def test_any_width_can_be_stated(tmp_path: Path) -> None:
    """0.6 is none that is tried."""
    model = create_model("mobilenet_v3_small", num_classes=3, width_mult=0.6, width_rule="torchvision")
    path = tmp_path / "w060.pth"
    torch.save(export_state(model, "torchvision"), path)
    with pytest.raises(ModelFileError, match="say which with --width-mult"):
        convert("torchvision", path)
    assert convert("torchvision", path, width_mult=0.6).architecture.options.width_mult == 0.6


# --- Preprocessing and class names ---------------------------------------------------------


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.source)
def test_published_weights(entry: Published) -> None:
    check_published(entry)


def test_all_published_weights_are_known() -> None:
    assert published_sources("torchvision") == sorted(entry.source for entry in PUBLISHED)


@pytest.mark.parametrize(("name", "position"), [("torchvision-large-96x96", 0), ("torchvision-lraspp-96x96", 3)])
def test_class_names_are_the_librarys(name: str, position: int, tmp_path: Path) -> None:
    found = golden_of(name)
    theirs = PUBLISHED[position].classes
    assert theirs is not None
    ours = convert(f"torchvision:{found.network}", write(found, tmp_path)).classes
    assert ours == tuple(name.replace("__background__", "background") for name in theirs)


def test_weights_are_named(tmp_path: Path) -> None:
    path = write(golden_of("torchvision-large-96x96"), tmp_path)
    first = convert("torchvision:mobilenet_v3_large.IMAGENET1K_V1", path)
    second = convert("torchvision:mobilenet_v3_large.IMAGENET1K_V2", path)
    assert (first.preprocess.crop_fraction, second.preprocess.crop_fraction) == (224 / 256, 224 / 232)
    assert second.description.provenance["converted_from"]["weights"] == "IMAGENET1K_V2"
    with pytest.raises(OptionError, match="did you mean IMAGENET1K_V"):
        convert("torchvision:mobilenet_v3_large.IMAGENET1K_V3", path)


def test_weights_known_by_their_hash_go_by_no_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save(foreign_weights(golden_of("torchvision-large-96x96")), path)
    monkeypatch.setattr("hswish.models.adapters.files.sha256_of", lambda path: f"5c1a4163{'0' * 56}")
    with pytest.raises(ModelFileError, match=r"is mobilenet_v3_large.IMAGENET1K_V2 by its SHA-256"):
        convert("torchvision:mobilenet_v3_large.IMAGENET1K_V1", path)
    assert convert("torchvision", path).preprocess.crop_fraction == 224 / 232


# --- Files of the reference training scripts -----------------------------------------------


def reference_checkpoint(found: Golden, folder: Path, **changes: Any) -> Path:
    """What `references/classification/train.py` saves: averaged weights are twice the last ones here."""
    state = foreign_weights(found)
    ours = create_model("mobilenet_v3_small", num_classes=10)
    optimizer = torch.optim.RMSprop(ours.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5),
        ],
        [2],
    )
    averaged = {
        f"module.{name}": tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }
    content = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 7,
        "args": argparse.Namespace(model="mobilenet_v3_small", weights=None, lr=0.1, clip_grad_norm=None),
        "model_ema": {"n_averaged": torch.tensor(5), **averaged},
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
    }
    path = folder / "checkpoint.pth"
    torch.save({**content, **changes}, path)
    return path


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    found = golden_of(SMALL)
    path = reference_checkpoint(found, tmp_path)
    averaged, last = convert("torchvision", path), convert("torchvision", path, ema=False)
    state = foreign_weights(found)
    assert torch.equal(averaged.state_dict()["head.classifier.weight"], 2 * state["classifier.3.weight"])
    assert averaged.description.provenance["converted_from"]["averaged"] is True
    check_answers(last, found)
    assert last.description.provenance["converted_from"]["averaged"] is False


def test_a_checkpoint_without_averaging(tmp_path: Path) -> None:
    found = golden_of(SMALL)
    path = reference_checkpoint(found, tmp_path, model_ema=None)
    check_answers(convert("torchvision", path), found)


def test_torchs_own_averaging_has_the_names_assumed() -> None:
    averaged = AveragedModel(torch.nn.BatchNorm1d(2), use_buffers=True).state_dict()
    assert set(averaged) == {"n_averaged", *(f"module.{name}" for name in torch.nn.BatchNorm1d(2).state_dict())}


def test_the_scripts_sizes_come_along(tmp_path: Path) -> None:
    settings = argparse.Namespace(
        model="mobilenet_v3_small", val_crop_size=176, val_resize_size=200, interpolation="bicubic"
    )
    model = convert("torchvision", reference_checkpoint(golden_of(SMALL), tmp_path, args=settings))
    assert model.preprocess == Preprocess(
        height=176, width=176, resize="crop", crop_fraction=176 / 200, interpolation="bicubic"
    )


@pytest.mark.parametrize("sizes", [(0, 0), (224, 0), ("224", "256"), (10**9, 10**9), (10**400, 1), (True, None)])
def test_odd_settings_are_passed_over(sizes: tuple[Any, Any], tmp_path: Path) -> None:
    settings = argparse.Namespace(val_crop_size=sizes[0], val_resize_size=sizes[1])
    model = convert("torchvision", reference_checkpoint(golden_of(SMALL), tmp_path, args=settings))
    assert model.preprocess == Preprocess(height=224, width=224, resize="crop", crop_fraction=0.875)


def test_an_odd_name_of_the_network_is_passed_over(tmp_path: Path) -> None:
    found = golden_of(SMALL)
    path = reference_checkpoint(found, tmp_path, model_ema=None, arch=torch.ones(3))
    check_answers(convert("torchvision", path), found)


def test_an_auxiliary_head_is_left_over(tmp_path: Path) -> None:
    """torchvision builds no LR-ASPP with one: such a file is another network."""
    state = foreign_weights(golden_of("torchvision-lraspp_5-96x96"))
    state["aux_classifier.0.weight"] = torch.zeros(10, 40, 3, 3)
    path = tmp_path / "aux.pth"
    torch.save({"model": state}, path)
    with pytest.raises(ModelFileError, match=r"1 tensor left over \('aux_classifier.0.weight'\)"):
        convert("torchvision:lraspp_mobilenet_v3_large", path)


# --- Back ----------------------------------------------------------------------------------


def test_a_network_of_ours_becomes_theirs(tmp_path: Path) -> None:
    """At width 1 the paper's network and torchvision's are one; the file passes through a model file of ours."""
    model = create_model("mobilenet_v3_large", num_classes=4)
    assert isinstance(model, DescribedModule)
    save(model, tmp_path / "ours.safetensors")
    assert export_file(load(tmp_path / "ours.safetensors"), "torchvision", tmp_path / "t.pth") == "mobilenet_v3_large"
    back = convert("torchvision", tmp_path / "t.pth")
    check_identical(back.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("mobilenet_v3_large_minimal", {}, "has no mobilenet_v3_large_minimal; it has"),
        ("mobilenet_v3_small", {"width_mult": 0.75}, "width_rule torchvision, not tensorflow"),
        ("mobilenet_v3_small", {"padding": "same"}, "padding symmetric, not same"),
        ("mobilenet_v3_small", {"bn_eps": 1e-5}, "bn_eps 0.001, not 1e-05"),
        ("mobilenet_v3_small", {"in_channels": 1}, "in_channels 3, not 1"),
        ("mobilenet_v3_small", {"output_stride": 16}, "atrous_rule torchvision, not tensorflow"),
        ("mobilenet_v3_small", {"output_stride": 8, "atrous_rule": "torchvision"}, "output stride 16, not 8"),
        ("mobilenet_v3_small", {"head_channels": 64}, "head_channels None, not 64"),
        ("lraspp_mobilenet_v3_large", {}, "head torchvision, not lraspp"),
        ("lraspp_mobilenet_v3_small", {"head": "torchvision"}, "has no lraspp_mobilenet_v3_small"),
    ],
)
def test_what_torchvision_cannot_express_is_refused(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        export_state(create_model(name, **changes), "torchvision")
