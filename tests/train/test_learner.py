"""One step: accumulation, freezing, the parts that only training has, and steps that cannot be made."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from hswish.data import Batch
from hswish.models import DescribedModule, create_model, save
from hswish.runtime.native.library import is_present
from hswish.spec.errors import OptionError
from hswish.train import Recipe
from hswish.train import learner as learner_module
from hswish.train.devices import Devices
from hswish.train.learner import Learner, Lesson, NotFinite
from hswish.train.teachers.teacher import Teacher

PLAIN = Recipe(ema_decay=0.0, dropout=0.0, label_smoothing=0.0, clip_norm=0.0, optimizer="sgd", momentum=0.0, lr=0.1)


def network(name: str = "mobilenet_v3_small", seed: int = 0, **options: Any) -> DescribedModule:
    torch.manual_seed(seed)
    model = create_model(name, **{"num_classes": 3, "width_mult": 0.35, "dropout": 0.0, **options})
    assert isinstance(model, DescribedModule)
    return model


def batch(count: int, seed: int = 0, masks: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(count, 3, 32, 32, generator=generator)
    shape = (count, 32, 32) if masks else (count,)
    targets = torch.randint(0, 3, shape, generator=generator)
    return Batch(pictures, targets.to(torch.uint8) if masks else targets, torch.arange(count), ())


def cut(whole: Batch, *sizes: int) -> list[Batch]:
    parts = zip(*(tensor.split(sizes) for tensor in (whole.pictures, whole.targets, whole.indices)), strict=True)
    return [Batch(*part, ()) for part in parts]


def learner(model: DescribedModule, recipe: Recipe = PLAIN, **options: Any) -> Learner:
    made = Learner(model, recipe, Devices(), **options)
    made.begin_epoch(0)
    return made


def freeze_norms(made: Learner) -> None:
    for module in made.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
def test_accumulated_batches_make_the_step_of_the_big_batch(name: str) -> None:
    """With batch norm standing still, for that sees one batch at a time; batches of unequal size."""
    masks = name.startswith("lraspp")
    model = network(name)
    whole = batch(7, masks=masks)
    if masks:
        whole.targets[:3, :20] = 255
    results = []
    for batches in ([whole], cut(whole, 3, 3, 1)):
        made = learner(copy.deepcopy(model))
        freeze_norms(made)
        step = made.step(batches, 0, lr=0.1)
        assert step.pictures == 7
        results.append((step.loss, made.model.state_dict()))
    (loss, ours), (theirs_loss, theirs) = results
    assert loss == pytest.approx(theirs_loss, rel=1e-5)
    changed = model.state_dict()
    for key, value in ours.items():
        assert torch.allclose(value, theirs[key], atol=1e-5), key
    assert not torch.equal(changed["backbone.stem.conv.weight"], ours["backbone.stem.conv.weight"])


def test_a_frozen_backbone_stands_still_and_moves_again() -> None:
    recipe = PLAIN.with_changes(
        {"finetune.freeze_epochs": 2, "optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 1.0}
    )
    made = learner(network(), recipe)
    before = copy.deepcopy(made.model.state_dict())
    for epoch in range(3):
        made.begin_epoch(epoch)
        made.step([batch(4)], epoch, lr=0.1)
        moved = {key for key, value in made.model.state_dict().items() if not torch.equal(value, before[key])}
        assert any(key.startswith("head.") for key in moved)
        assert any(key.startswith("backbone.") for key in moved) == (epoch == 2)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_step_that_cannot_be_made_changes_nothing(broken: str) -> None:
    made = learner(network(), PLAIN.with_changes({"on_nan": "skip", "ema_decay": 0.9, "optimizer": "adamw"}))
    made.step([batch(4)], 0, lr=0.01)
    before = copy.deepcopy(made.state())
    bad = batch(4)
    if broken == "loss":
        bad.pictures[1, 0, 0, 0] = float("nan")
    else:
        made.model.head.classifier.weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[union-attr]
    with pytest.raises(NotFinite, match=broken):
        made.step([bad], 1, lr=0.01)
    after = made.state()
    for part in ("body", "average"):
        for key, value in before[part].items():
            assert torch.equal(value, after[part][key]), key
    assert before["optimizer"]["state"][0]["step"] == after["optimizer"]["state"][0]["step"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_infinite_gradient_is_found_wherever_no_loss_is_scaled(precision: Literal["32-true", "bf16-mixed"]) -> None:
    """Whatever the recipe calls its precision: without a scale there is none that could have been too large."""
    made = Learner(network(), PLAIN.with_changes({"precision": "16-mixed", "kernels": "torch"}), Devices(precision))
    made.begin_epoch(0)
    made.model.head.classifier.weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[union-attr]
    with pytest.raises(NotFinite, match="gradient"):
        made.step([batch(4)], 0, lr=0.01)
    assert all(weight.isfinite().all() for weight in made.model.parameters())


def test_mixing_is_a_function_of_the_step() -> None:
    recipe = PLAIN.with_changes({"mixup": 0.4, "cutmix": 1.0})
    losses = [learner(network(), recipe).step([batch(4)], number, lr=0.1).loss for number in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    with pytest.raises(OptionError, match="mixup is for classification"):
        learner(network("lraspp_mobilenet_v3_small"), recipe)


def test_dropped_paths_leave_residual_branches_out() -> None:
    made = learner(network(), PLAIN.with_changes({"drop_path": 0.99}))
    block = next(module for module in reversed(list(made.model.modules())) if getattr(module, "has_residual", False))
    x = torch.randn(64, block.expand.conv.in_channels, 4, 4)  # type: ignore[union-attr, operator]
    out = block(x)
    passed = [torch.equal(out[n], x[n]) for n in range(64)]
    assert 55 <= sum(passed) <= 64
    kept = block.eval()(x)
    block.train()
    torch.manual_seed(0)
    mean = torch.stack([block(x[:1].expand(4096, -1, -1, -1)) - x[:1]]).mean((0, 1))
    assert kept.shape == out.shape
    assert mean.shape == x[0].shape
    assert not any(torch.equal(kept[n], x[n]) for n in range(64))


def test_dropped_paths_keep_the_mean() -> None:
    """Over many draws the branch counts as much as without: its kept copies are scaled up."""
    from hswish.train.drop_path import _DropPath

    torch.manual_seed(0)
    branch = torch.ones(20_000, 2, 1, 1)
    drawn = _DropPath(0.3)(nn.Identity().train(), None, branch)
    assert drawn is not None
    assert drawn.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert drawn.mean().item() == pytest.approx(1.0, abs=0.02)


def test_the_auxiliary_mask_teaches_and_stays_behind() -> None:
    recipe = PLAIN.with_changes({"loss.auxiliary": 0.4})
    model = network("lraspp_mobilenet_v3_small")
    names = set(model.state_dict())
    made = learner(model, recipe)
    pictures = batch(2, masks=True).pictures
    logits, auxiliary = made.body(pictures)
    assert auxiliary.shape == logits.shape == (2, 3, 32, 32)
    freeze_norms(made)
    made.model.eval()
    assert torch.equal(made.body(pictures)[0], made.model(pictures))
    made.begin_epoch(0)
    before = made.body.auxiliary[0].weight.detach().clone()  # type: ignore[union-attr, index, operator]
    made.step([batch(2, masks=True)], 0, lr=0.1)
    assert not torch.equal(before, made.body.auxiliary[0].weight)  # type: ignore[union-attr, index]
    assert set(made.kept.state_dict()) == names


def test_a_student_with_the_teachers_weights_has_nothing_to_learn_from_it() -> None:
    """The KL part is 0, whatever the order of the teacher's classes and its normalisation."""
    student = network()
    student.describe(classes=("a", "b", "c"), preprocess=preprocess_of(student, 32))
    teacher = copy.deepcopy(student)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        teacher.head.classifier.weight.copy_(student.head.classifier.weight[order])  # type: ignore[union-attr, index]
        teacher.head.classifier.bias.copy_(student.head.classifier.bias[order])  # type: ignore[union-attr, index]
    teacher.describe(classes=("c", "a", "b"))
    pictures = batch(3).pictures
    answers = Teacher(teacher, student, "big")(pictures)
    assert torch.allclose(answers, student.eval()(pictures), atol=1e-6)


def preprocess_of(model: DescribedModule, size: int, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(model.preprocess, height=size, width=size, **changes)


def test_a_teacher_sees_pictures_as_it_was_trained_to() -> None:
    """Another size, mean, deviation and channel order: the input it gets is the picture's, made by the book."""
    student, big = network(), network(seed=1)
    student.describe(preprocess=preprocess_of(student, 32, crop_fraction=1.0))
    big.describe(
        preprocess=preprocess_of(big, 48, crop_fraction=1.0, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), channels="BGR")
    )
    from hswish.spec.preprocess import Preprocess

    seen = []
    big.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    rgb = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    Teacher(big, student, "big")(torch.from_numpy(student.preprocess.normalise(rgb))[None])
    theirs: Preprocess = big.preprocess
    expected = torch.from_numpy(theirs.normalise(rgb))[None]
    expected = nn.functional.interpolate(expected, (48, 48), mode="bilinear", antialias=True)
    assert torch.allclose(seen[0], expected, atol=1e-5)


@pytest.mark.skipif(not is_present(), reason="the engine is not compiled")
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lraspp_mobilenet_v3_small"])
@pytest.mark.parametrize("halves", [False, True])
def test_a_teacher_answers_alike_by_the_native_engine(name: str, halves: bool, tmp_path: Path) -> None:
    """In halves too, where torch in bfloat16 is as far from float32."""
    student, teacher = network(name), network(name, seed=1)
    with torch.no_grad():
        teacher.train()(torch.randn(8, 3, 64, 64))
    save(teacher, tmp_path / "big.safetensors")
    pictures = batch(3).pictures
    plain = Teacher.open(tmp_path / "big.safetensors", student)
    quick = Teacher.open(tmp_path / "big.safetensors", student, native=True, halves=halves)
    assert plain.engine is None
    assert quick.engine is not None
    wanted, answer = plain(pictures), quick(pictures)
    assert answer.shape == wanted.shape
    largest = wanted.abs().max()
    if quick.engine.precision == "float32":
        assert (answer - wanted).abs().max() < 1e-4 * largest
    else:
        with torch.autocast("cpu", torch.bfloat16):
            theirs = (plain(pictures) - wanted).square().mean()
        assert (answer - wanted).square().mean() < 2 * theirs


def test_teachers_that_do_not_fit_are_refused() -> None:
    student = network()
    for teacher, words in (
        (network("lraspp_mobilenet_v3_small"), "is for segmentation"),
        (network(num_classes=4), "classes are not the data's"),
        (network(in_channels=1), "sees grey"),
    ):
        with pytest.raises(OptionError, match=words):
            Teacher(teacher, student, "big.safetensors")


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_step_is_the_plain_one(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the quick backend always, by the real one (minutes of C++ on a CPU) among the slow tests."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **options: compiler(module, **{"backend": backend, **options}))
    losses = []
    for compiled in (False, True):
        made = learner(network(), PLAIN.with_changes({"compiled": compiled}))
        losses.append([made.step([batch(4)], number, lr=0.1).loss for number in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mobilenet_v3_small", {"optimizer": "sgd", "clip_norm": 1.0, "label_smoothing": 0.1}),
        ("lraspp_mobilenet_v3_small", {"loss.stride": 2, "loss.region": "lovasz", "loss.auxiliary": 0.4}),
        ("lraspp_mobilenet_v3_small", {"loss.region": "dice", "loss.pixel": "focal"}),
        ("mobilenet_v3_small", {"distill.weight": 0.5}),
        ("lraspp_mobilenet_v3_small", {"distill.weight": 0.5}),
    ],
)
def test_a_step_asks_nothing_of_the_device(name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """On `meta` there is no value to give, as there is none while a GPU records."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no `meta`
    shape = (4, 3, 32, 32) if name.startswith("lraspp") else (4, 3)
    teacher = (lambda pictures: torch.zeros(shape, device=pictures.device)) if "distill.weight" in changes else None
    made = learner(network(name), PLAIN.with_changes(changes), class_weights=torch.ones(3))
    made.teacher = teacher  # type: ignore[assignment]
    made.body.to("meta")
    made.criterion.to("meta")
    for group in made.optimizer.param_groups:
        group["params"] = list(made.body.parameters())
    whole = batch(4, masks=name.startswith("lraspp"))
    lesson = Lesson(*made._prepared(whole, 0, 0))
    pictures, targets, corner = (tensor.to("meta") for tensor in lesson.tensors())
    assert lesson.on_full_grid
    assert made._gradients_of_one(pictures, targets, corner).shape == (3,)


def test_a_grid_that_begins_at_a_tensor_is_the_same() -> None:
    recipe = PLAIN.with_changes({"loss.stride": 2, "loss.auxiliary": 0.4})
    made = [learner(network("lraspp_mobilenet_v3_small"), recipe) for _ in range(2)]
    lesson = made[0]._prepared(batch(4, masks=True), 5, 0)
    plain, read = made[0]._gradients([lesson]), made[1]._gradients_of_one(*lesson.tensors())
    assert torch.equal(plain, read)
    gradients = [[weight.grad for weight in one.body.parameters()] for one in made]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True) if one is not None)


def test_gradients_stay_where_a_recorded_update_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a batch of another size, which is not replayed; and the steps are those of plain calls."""
    monkeypatch.setattr(learner_module, "Recorded", lambda function: function)
    model, batches = network(), [batch(4), batch(3, seed=1), batch(4, seed=2)]
    weights, places = [], []
    for records in (False, True):
        monkeypatch.setattr(Learner, "_records", lambda self, records=records: records)
        made = learner(copy.deepcopy(model))
        for number, one in enumerate(batches):
            made.step([one], number, lr=0.1)
            if records:
                places.append([id(weight.grad) for weight in made.body.parameters()])
        weights.append(list(made.body.parameters()))
    assert places[0] == places[1] == places[2]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def halving_devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    """Devices that compute in fp16 as a GPU would; on a processor Lightning takes bfloat16 in its place."""
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**12))
    devices = Devices()
    monkeypatch.setattr(devices.fabric.strategy, "_precision", precision)
    monkeypatch.setattr(devices.fabric, "_precision", precision)
    return devices


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_fp16_makes_the_step_of_float32(monkeypatch: pytest.MonkeyPatch, optimizer: str, clip_norm: float) -> None:
    """To fp16's precision, gradient clipping included, whatever the loss is multiplied by."""
    changes = {"optimizer": optimizer, "clip_norm": clip_norm, "momentum": 0.9, "kernels": "torch"}
    recipe = PLAIN.with_changes(changes)
    model, lr = network(), 0.001 if optimizer == "adamw" else 0.03
    exact = Learner(copy.deepcopy(model), recipe, Devices())
    halves = Learner(model, recipe.with_changes({"precision": "16-mixed"}), halving_devices(monkeypatch))
    losses = []
    for made in (exact, halves):
        made.begin_epoch(0)
        losses.append([made.step([batch(16)], number, lr).loss for number in range(6)])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1][5] < losses[1][0] - 0.05


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_run_goes_on_after_a_step_left_out(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is no number: nothing moves, and the next step is that of a run that never saw it."""
    recipe = PLAIN.with_changes({"precision": precision, "kernels": "torch", "on_nan": "skip", "clip_norm": 1.0})
    broken = batch(8, seed=1)
    broken.pictures[3] = float("nan")
    weights = []
    for skips in (False, True):
        made = Learner(network(), recipe, halving_devices(monkeypatch) if precision == "16-mixed" else Devices())
        made.begin_epoch(0)
        if skips:
            with pytest.raises(NotFinite):
                made.step([broken], 0, lr=0.1)
        made.step([batch(8)], 1, lr=0.1)
        weights.append([weight.detach() for weight in made.model.parameters()])
    exact = precision == "32-true"  # the loss scale is halved, and with it where fp16 rounds
    assert all(torch.allclose(*pair, rtol=0, atol=0 if exact else 2e-3) for pair in zip(*weights, strict=True))


def test_an_overflow_of_fp16_halves_the_scale_and_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient past fp16's range is no fault of the run; a checkpoint keeps the scale."""
    recipe = PLAIN.with_changes({"precision": "16-mixed", "kernels": "torch"})
    made = Learner(network(), recipe, halving_devices(monkeypatch))
    made.begin_epoch(0)
    made.step([batch(8)], 0, lr=0.1)
    scaler = made.devices.fabric.strategy.precision.scaler
    scaler._scale.fill_(2.0**60)
    before = [weight.clone() for weight in made.model.parameters()]
    made.step([batch(8)], 1, lr=0.1)
    assert all(torch.equal(*pair) for pair in zip(before, made.model.parameters(), strict=True))
    assert scaler.get_scale() == 2.0**59
    state = made.state()
    other = Learner(network(), recipe, halving_devices(monkeypatch))
    other.restore(state)
    assert other.devices.fabric.strategy.precision.scaler.get_scale() == 2.0**59
