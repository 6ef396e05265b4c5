"""Mixup and cutmix: against plain loops, and as pure functions of batch and generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hswish.data.augment.mixing import mix
from hswish.spec.errors import OptionError

COUNT, CLASSES, HEIGHT, WIDTH = 5, 7, 12, 18


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture is one colour, its number: what was pasted is seen in every pixel."""
    pictures = torch.arange(COUNT, dtype=torch.float32)[:, None, None, None].expand(COUNT, 3, HEIGHT, WIDTH).clone()
    return pictures, torch.tensor([0, 2, 2, 6, 1])


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, 3))


@pytest.mark.parametrize("seed", range(30))
def test_mixup_blends_pictures_and_targets_by_one_share(seed):
    pictures, targets = batch()
    mixed, soft = mix(pictures, targets, CLASSES, generator(seed), mixup=0.4)
    random = generator(seed)
    random.random()  # whether to mix
    share = random.beta(0.4, 0.4)
    for index in range(COUNT):
        expected = share * pictures[index] + (1 - share) * pictures[index - 1]
        torch.testing.assert_close(mixed[index], expected, atol=1e-5, rtol=1e-5)
        row = torch.zeros(CLASSES)
        row[targets[index]] += share
        row[targets[index - 1]] += 1 - share
        torch.testing.assert_close(soft[index], row, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_cutmix_pastes_one_box_and_targets_follow_its_area(seed):
    pictures, targets = batch()
    mixed, soft = mix(pictures, targets, CLASSES, generator(seed), cutmix=1.0)
    for index in range(COUNT):
        pasted = mixed[index, 0] != index
        assert set(mixed[index].unique().tolist()) <= {float(index), float((index - 1) % COUNT)}
        rows, columns = pasted.any(1).nonzero().flatten(), pasted.any(0).nonzero().flatten()
        if len(rows):  # one full box
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        area = pasted.sum().item() / (HEIGHT * WIDTH)
        row = torch.zeros(CLASSES)
        row[targets[index]] += 1 - area
        row[targets[index - 1]] += area
        torch.testing.assert_close(soft[index], row, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_cutmix_cuts_masks_where_it_cuts_pictures(seed):
    pictures, _ = batch()
    masks = pictures[:, 0].to(torch.uint8) + 10  # what it shows is told by each pixel of picture and mask
    masks[2] = 255
    mixed, cut = mix(pictures, masks, CLASSES, generator(seed), cutmix=1.0)
    assert cut.dtype == torch.uint8
    shown = mixed[:, 0].to(torch.uint8) + 10
    assert torch.equal(cut, torch.where(shown == 12, 255, shown))
    assert not torch.equal(cut, masks) or seed


def test_masks_are_never_blended():
    pictures, _ = batch()
    with pytest.raises(OptionError, match="mixup is for classification: a pixel has one class; cutmix mixes masks"):
        mix(pictures, pictures[:, 0].long(), CLASSES, generator(0), mixup=0.2, cutmix=1.0)


def test_cutmix_keeps_the_share_that_was_drawn_where_the_border_does_not_cut_it():
    """Of boxes that lie inside, the area is the one drawn, to the pixel."""
    inside = 0
    for seed in range(200):
        pictures = torch.zeros(2, 1, 60, 80)
        pictures[1] = 1
        mixed, soft = mix(pictures, torch.tensor([0, 1]), 2, generator(seed), cutmix=1.0)
        random = generator(seed)
        random.random()
        share = random.beta(1.0, 1.0)
        pasted = mixed[1, 0] == 0
        if pasted.any() and not (pasted[0].any() or pasted[-1].any() or pasted[:, 0].any() or pasted[:, -1].any()):
            inside += 1
            assert abs(soft[1, 0].item() - (1 - share)) < 0.03
    assert inside > 20


def test_a_pure_function_of_batch_and_generator():
    pictures, targets = batch()
    kept = pictures.clone()
    first = [mix(pictures, targets, CLASSES, generator(seed), mixup=0.2, cutmix=1.0) for seed in range(8)]
    torch.manual_seed(1)
    np.random.seed(1)
    backwards = [mix(pictures, targets, CLASSES, generator(seed), mixup=0.2, cutmix=1.0) for seed in reversed(range(8))]
    for (a, soft_a), (b, soft_b) in zip(first, reversed(backwards), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(soft_a, soft_b)
    assert torch.equal(pictures, kept)
    assert len({a.numpy().tobytes() for a, _ in first}) > 5


def test_a_coin_decides_between_the_two_and_whether_at_all():
    pictures, targets = batch()
    untouched = blended = 0
    for seed in range(400):
        mixed, soft = mix(pictures, targets, CLASSES, generator(seed), mixup=1.0, cutmix=1.0, probability=0.75)
        torch.testing.assert_close(soft.sum(1), torch.ones(COUNT))
        untouched += torch.equal(mixed, pictures)
        blended += bool((mixed != mixed.round()).any())
    assert 60 < untouched < 160  # a quarter, and the boxes without a pixel
    assert 100 < blended < 200  # half of three quarters


def test_nothing_asked_for_changes_nothing():
    pictures, targets = batch()
    mixed, soft = mix(pictures, targets, CLASSES, generator(0))
    assert mixed is pictures
    assert torch.equal(soft.argmax(1), targets)
    assert set(soft.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("how", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_memory_format_and_dtype_are_kept(how):
    pictures = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    mixed, soft = mix(pictures, torch.tensor([0, 1, 2, 3]), 4, generator(1), **how)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert (mixed.dtype, soft.dtype) == (torch.float32, torch.float32)


def test_a_batch_of_one_is_its_own_partner():
    picture = torch.rand(1, 3, 8, 8)
    mixed, soft = mix(picture, torch.tensor([1]), 2, generator(0), mixup=0.5)
    torch.testing.assert_close(mixed, picture)
    assert soft.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("wrong", [{"mixup": -0.1}, {"cutmix": float("nan")}, {"probability": 1.5}])
def test_ranges_are_checked(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        mix(*batch(), CLASSES, generator(0), **wrong)
