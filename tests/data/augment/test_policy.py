"""The operations of the policies one by one, against plain array arithmetic."""

from __future__ import annotations

import albumentations
import numpy as np
import pytest

from hswish.data.augment.policy import policy_step

WHITE = {"border_mode": 0, "fill": 0, "fill_mask": 255}
STRENGTH = 0.5


def operations():
    return policy_step(albumentations, "random", 2, STRENGTH, WHITE).transforms


def results(step, pixels, mask):
    """Every (picture, mask) that a step of one strength can give: with a plus and with a minus, where it has a sign."""
    steps = step.transforms if hasattr(step, "transforms") else [step]
    made = [albumentations.Compose([one])(image=pixels, mask=mask) for one in steps]
    return [(result["image"].astype(int), result["mask"]) for result in made]


@pytest.fixture
def scene():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 20:40] = 1
    return pixels, mask


def test_there_are_fourteen_of_them():
    for name in ("trivial", "random"):
        assert len(policy_step(albumentations, name, 2, STRENGTH, WHITE).transforms) == 14


@pytest.mark.parametrize(("place", "axis"), [(3, 1), (4, 0)])
def test_shifts_go_as_far_as_published(scene, place, axis):
    pixels, mask = scene
    distance = round(STRENGTH * 150 / 331 * mask.shape[axis])
    middles = []
    for _, moved in results(operations()[place], pixels, mask):
        if (moved == 1).any():
            middles.append(np.argwhere(moved == 1)[:, axis].max() - np.argwhere(mask == 1)[:, axis].max())
        assert (moved == 255).any()
    assert any(abs(abs(middle) - distance) <= 1 for middle in middles)


@pytest.mark.parametrize("place", [1, 2])
def test_shears_lean_by_the_published_tangent(place):
    """A straight bar across leans: from end to end by tangent times length."""
    mask = np.zeros((201, 201), np.uint8)
    if place == 1:
        mask[:, 98:103] = 1
    else:
        mask[98:103] = 1
    leans = []
    for _, moved in results(operations()[place], np.zeros((201, 201, 3), np.uint8), mask):
        lines = moved if place == 1 else moved.T
        first, last = (np.flatnonzero(lines[line] == 1).mean() for line in (20, 180))
        leans.append(last - first)
    assert sorted(leans) == pytest.approx([-160 * STRENGTH * 0.3, 160 * STRENGTH * 0.3], abs=4)


def test_turns_by_the_published_angle():
    mask = np.zeros((201, 201), np.uint8)
    mask[98:103] = 1
    for _, moved in results(operations()[5], np.zeros((201, 201, 3), np.uint8), mask):
        rows, columns = np.nonzero(moved == 1)
        slope = np.polyfit(columns, rows, 1)[0]
        assert abs(np.degrees(np.arctan(slope))) == pytest.approx(30 * STRENGTH, abs=1)


def test_colours_change_by_the_published_factor(scene):
    pixels, mask = scene
    for made, kept in results(operations()[6], pixels, mask):  # brightness
        assert any(
            np.abs(made - np.clip(pixels * factor, 0, 255)).max() <= 1
            for factor in (1 - 0.9 * STRENGTH, 1 + 0.9 * STRENGTH)
        )
        np.testing.assert_array_equal(kept, mask)
    (less, _), (more, _) = results(operations()[7], pixels, mask)  # contrast
    assert {less.std() < pixels.std(), more.std() < pixels.std()} == {True, False}
    (less, _), (more, _) = results(operations()[8], pixels, mask)  # saturation: distance from grey
    spread = [np.ptp(values, axis=2).mean() for values in (less, more, pixels.astype(int))]
    assert min(spread) < spread[2] < max(spread)


def test_posterize_and_solarize_are_what_they_say(scene):
    pixels, mask = scene
    ((posterized, _),) = results(operations()[10], pixels, mask)
    np.testing.assert_array_equal(posterized, pixels & 0b11111100)  # 8 bits less half of 4
    ((solarized, _),) = results(operations()[11], pixels, mask)
    threshold = 255 * (1 - STRENGTH)
    np.testing.assert_array_equal(solarized, np.where(pixels >= threshold, 255 - pixels, pixels))


def test_no_operation_and_stretched_histograms(scene):
    pixels, mask = scene
    ((same, _),) = results(operations()[0], pixels, mask)
    np.testing.assert_array_equal(same, pixels)
    dull = (pixels // 4 + 90).astype(np.uint8)
    for place in (12, 13):  # autocontrast, equalize
        ((made, _),) = results(operations()[place], dull, mask)
        assert made.min() <= 2
        assert made.max() >= 253
    ((sharp, _),) = results(operations()[9], dull, mask)
    assert sharp.std() > dull.std()
