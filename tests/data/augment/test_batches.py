"""Augmentation of whole batches: against albumentations, against numpy, and by what must not change."""

from __future__ import annotations

import albumentations
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hswish.data import Augment, TrainTransform
from hswish.data.augment.batch_colour import hue_turned, stretched
from hswish.data.augment.batch_geometry import crops, mirrors, moves, sampled
from hswish.data.augment.batch_policy import OPERATIONS, apply_operation, operation_moves, operation_strengths
from hswish.data.augment.batches import BatchAugment
from hswish.data.augment.policy import policy_step
from hswish.spec.preprocess import Preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
GREY = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
STRENGTH = 0.5


def pixels(seed=0, count=4, height=24, width=30):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def augmented(augment, pictures, masks=None, *, seed=0, task="classification", **preprocess):
    """As bytes (N, h, w, C), where `preprocess` is plain."""
    height, width = pictures.shape[1:3]
    step = BatchAugment(augment, Preprocess(**{"height": height, "width": width, **PLAIN, **preprocess}), task)
    drawn = step.draw(np.random.default_rng(seed), len(pictures), (height, width))
    made, shown = step.apply(pictures, masks, drawn)
    return (made * 255).round().permute(0, 2, 3, 1).to(torch.uint8), shown


@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_without_augmentation_exactly_what_training_on_the_cpu_sees(channels, task):
    kind = {"mean": (0.4,), "std": (0.2,)} if channels == "L" else {}
    preprocess = Preprocess(height=24, width=30, resize="stretch", channels=channels, **kind)
    pictures = pixels()
    masks = pictures[..., 0] if task == "segmentation" else None
    held = torch.from_numpy(np.stack([preprocess.ordered(one) for one in pictures.numpy()]))
    for augment in (Augment(), Augment(rotate=1e-30)):  # the second goes through the sampling
        step = BatchAugment(augment, preprocess, task)
        made, shown = step.apply(held, masks, step.draw(np.random.default_rng(0), 4, (24, 30)))
        assert made.is_contiguous(memory_format=torch.channels_last)
        reference = TrainTransform(Augment(), preprocess, task)
        for number in range(4):
            target = 0 if masks is None else masks[number].numpy()
            picture, mask = reference(Image.fromarray(pictures[number].numpy()), target)
            np.testing.assert_array_equal(made[number], picture)
            if shown is not None:
                np.testing.assert_array_equal(shown[number], mask)


def test_mirror_is_exact():
    pictures = pixels(height=17, width=479)
    made, _ = augmented(Augment(mirror=1.0), pictures)
    assert torch.equal(made, pictures.flip(2))


@settings(max_examples=30)
@given(
    st.integers(1, 40), st.integers(1, 481), st.integers(-50, 50), st.integers(-50, 50), st.booleans(), st.booleans()
)
def test_whole_pixels_are_exact(height, width, right, down, flipped, reflect):
    """Shifts and flips against cv2, which copies bytes there."""
    pictures = pixels(1, 1, height, width)
    shift = (right + np.copysign(0.01, right)) / width, (down + np.copysign(0.01, down)) / height
    maps = mirrors(np.array([flipped]), (height, width)) @ moves((height, width), shift=shift)
    rows = torch.from_numpy(maps[:, :2].reshape(1, 6)).float()
    fill = None if reflect else torch.tensor([10.0, 20.0, 30.0])[:, None, None]
    made, shown = sampled(pictures, pictures[..., 0], rows, (height, width), fill)
    picture = pictures[0].numpy()[:, ::-1] if flipped else pictures[0].numpy()
    y, x = np.mgrid[:height, :width]
    across, along = (x - right).astype(np.float32), (y - down).astype(np.float32)
    border = cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_CONSTANT
    expected = cv2.remap(np.ascontiguousarray(picture), across, along, cv2.INTER_NEAREST, None, border, (10, 20, 30))
    np.testing.assert_array_equal(made[0].permute(1, 2, 0).numpy(), expected)
    inside = ((across >= 0) & (across < width) & (along >= 0) & (along < height)) | reflect
    np.testing.assert_array_equal(shown[0].numpy(), np.where(inside, expected[..., 0], 255))


@pytest.mark.parametrize("name", ["shear x", "shear y", "shift x", "shift y", "turn"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_moves_are_those_of_albumentations(name, sign):
    """Of smooth pictures; a grey level or two, for cv2 samples at 1/32 of a pixel."""
    y, x = np.mgrid[:40, :60]
    smooth = np.stack([128 + 100 * np.sin(x / 9), 128 + 100 * np.cos(y / 7), 4 * x], -1).astype(np.uint8)
    place = np.array([OPERATIONS.index(name)])
    augment = Augment(policy="random", policy_strength=STRENGTH)
    maps = operation_moves(augment, place, np.array([sign * STRENGTH]), (40, 60))
    rows = torch.from_numpy(maps[:, :2].reshape(1, 6)).float()
    made, _ = sampled(torch.from_numpy(smooth)[None], None, rows, (40, 60), None)
    affine = {"border_mode": cv2.BORDER_REFLECT_101, "fill": 0, "fill_mask": 255}
    both = policy_step(albumentations, "random", 2, STRENGTH, affine).transforms[place[0]].transforms
    references = [albumentations.Compose([one])(image=smooth)["image"] for one in both]
    off = [np.abs(made[0].permute(1, 2, 0).numpy() - reference) for reference in references]
    assert min(np.quantile(one, 0.99) for one in off) <= 4


@pytest.mark.parametrize("name", OPERATIONS[6:])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_colours_are_those_of_albumentations(name, sign):
    """Within one grey level, from rounding in between; two of saturation, whose grey cv2 rounds first."""
    dull = (pixels(3, 2) // 2 + 60) if name in ("autocontrast", "equalize") else pixels(3, 2)
    place = np.full(2, OPERATIONS.index(name))
    strength = np.full(2, STRENGTH)
    columns = operation_strengths(Augment(policy="random"), place, sign * strength, strength)
    made = apply_operation(dull.permute(0, 3, 1, 2).float(), GREY, torch.from_numpy(columns).float())
    step = policy_step(albumentations, "random", 2, STRENGTH, {}).transforms[place[0]]
    steps = step.transforms if hasattr(step, "transforms") else [step, step]  # minus comes second
    for number, picture in enumerate(dull.numpy()):
        expected = albumentations.Compose([steps[int(sign < 0)]])(image=picture)["image"].astype(int)
        if name == "autocontrast":  # albumentations' own default equalizes
            expected = np.asarray(ImageOps.autocontrast(Image.fromarray(picture)), int)
        off = np.abs(made[number].permute(1, 2, 0).numpy() - expected)
        assert off.max() <= {"posterize": 0, "solarize": 0, "saturation": 2}.get(name, 1)


def test_operations_of_other_items_change_nothing():
    pictures = pixels(5, len(OPERATIONS)).permute(0, 3, 1, 2).float()
    places = np.arange(len(OPERATIONS))
    half = np.full(len(places), STRENGTH)
    columns = operation_strengths(Augment(policy="trivial"), places, half, half)
    made = apply_operation(pictures, GREY, torch.from_numpy(columns).float())
    same = [torch.equal(a, b) for a, b in zip(made, pictures, strict=True)]
    assert same[:6] == [True] * 6
    assert not any(same[6:12])
    flat = torch.full((1, 3, 5, 5), 77.0)
    for place in (12, 13):  # one value only: nothing to stretch or to rank
        assert torch.equal(apply_operation(flat, GREY, torch.from_numpy(columns[place : place + 1]).float()), flat)
    assert torch.equal(stretched(flat, torch.tensor(True)), flat)


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.0, 0.25])
def test_hue_is_that_of_albumentations(turn):
    """Of floats, for bytes have but 180 hues."""
    picture = pixels(6, 1)[0].numpy()
    made = hue_turned(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), torch.tensor(turn))
    hsv = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    expected = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    assert np.abs(made[0].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_picture_and_mask_move_together():
    mask = np.zeros((64, 80), np.uint8)
    mask[:32, 40:], mask[32:, :40], mask[20:44, 25:55] = 1, 2, 3
    masks = torch.from_numpy(mask).expand(40, -1, -1)
    augment = Augment(
        scale=(0.5, 2.0), ratio=(0.8, 1.25), mirror=0.5, rotate=30, translate=0.2, erase=0.5, policy="none"
    )
    made, shown = augmented(augment, (masks * 60)[..., None].expand(-1, -1, -1, 3), masks, task="segmentation")
    labelled = shown != 255
    wrong = labelled & ((made[..., 0].int() - shown.int() * 60).abs() > 25)
    assert (wrong.sum((1, 2)) <= 0.1 * labelled.sum((1, 2))).all()  # edges alone, which interpolation blends
    assert (made[~labelled] == 0).all()  # the mean colour here
    assert 0.3 < labelled.float().mean() < 0.95


def test_crops_are_distributed_as_documented():
    augment = Augment(scale=(0.25, 1.0), ratio=(0.75, 4 / 3))
    maps = crops(augment, (300, 300), (32, 32), np.random.default_rng(0), 4000)
    wide, high = maps[:, 0, 0] * 32, maps[:, 1, 1] * 32
    left, top = maps[:, 0, 2] + 0.5 - wide / 64, maps[:, 1, 2] + 0.5 - high / 64
    for start, side in ((left, wide), (top, high)):
        assert (start > -1e-6).all()
        assert (start + side < 300 + 1e-6).all()
    area = wide * high / 300**2
    # Albumentations' own draws, whose large crops fit less often, are the reference.
    own = albumentations.RandomResizedCrop((32, 32), (0.25, 1.0), (0.75, 4 / 3))
    own.set_random_seed(1)
    boxes = np.array([own.get_params_dependent_on_data({"shape": (300, 300)}, {})["crop_coords"] for _ in range(4000)])
    reference = np.prod(boxes[:, 2:] - boxes[:, :2], 1) / 300**2
    points = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(area, points), np.quantile(reference, points), atol=0.03)


def test_erases_boxes_of_the_mean_colour_as_often_as_asked():
    pictures = torch.full((400, 32, 32, 3), 255, dtype=torch.uint8)
    masks = torch.zeros(400, 32, 32, dtype=torch.uint8)
    made, shown = augmented(Augment(erase=0.5), pictures, masks, task="segmentation")
    part = (shown == 255).float().mean((1, 2))
    assert 160 < (part > 0).sum() < 240
    assert part[part > 0].min() > 0.01
    assert part.max() < 0.34
    assert torch.equal(made[..., 0] == 0, shown == 255)


def test_a_function_of_the_generator_in_fixed_shapes():
    everything = Augment(
        scale=(0.5, 1.0), mirror=0.5, rotate=20, translate=0.1, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1,
        policy="random", policy_ops=2, erase=0.5,
    )  # fmt: skip
    first, again, other = (augmented(everything, pixels(), seed=seed, height=16, width=20)[0] for seed in (1, 1, 2))
    assert first.shape == (4, 16, 20, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_no_value_is_looked_at(task):
    """On the meta device, which has shapes but no values: so nothing waits for a device, and shapes are fixed."""
    augment = Augment(scale=(0.5, 1.0), brightness=0.3, hue=0.1, policy="random", erase=0.5)
    step = BatchAugment(augment, Preprocess(height=16, width=20), task)
    drawn = step.draw(np.random.default_rng(0), 4, (24, 30)).to("meta")
    pictures = pixels().to("meta")
    made, shown = step.apply(pictures, pictures[..., 0] if task == "segmentation" else None, drawn)
    assert made.shape == (4, 3, 16, 20)
    assert shown is None or shown.shape == (4, 16, 20)
