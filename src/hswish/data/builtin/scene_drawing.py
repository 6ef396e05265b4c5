"""Drawing one scene of `digit-scenes`: ground, clutter, digits.

Sizes are chosen for a network whose logits have an eighth of the input's resolution: a
stroke is 10 to 25 px thick, so that it covers one or two cells of that grid.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hswish.spec.errors import MissingPackageError

try:
    import cv2
except ModuleNotFoundError as error:
    raise MissingPackageError("opencv-python-headless", "train", "drawing digit-scenes") from error

SCENE_PX = 160
DIGIT_PX = (56, 104)
"""Height of a digit; with four or more in a scene at most 84."""
DIGITS = (2, 4)
MAX_COVERED = 0.2
"""Part of a digit that later ones may cover: beyond it an 8 and a 3 look alike."""
_DARK = 135
_SHADOW = 0.6
_TRIES = 30
_DRAWS = 10  # digits tried for a scene until it has as many as it wants

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def draw_scene(digits: Pixels, labels: NDArray[np.int64], rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """One scene.

    Args:
        digits: (N, 8, 8) strokes to draw from, 0 to 255.
        labels: (N,) what they show, 0 to 9.

    Returns:
        The picture (S, S, 3) RGB and its mask (S, S): label + 1, 0 for background; S = SCENE_PX.
    """
    canvas = _ground(rng)
    _clutter(canvas, rng)
    mask = np.zeros((SCENE_PX, SCENE_PX), np.uint8)
    owner = np.full((SCENE_PX, SCENE_PX), -1, np.int16)  # which digit of the scene is seen at a pixel
    areas: list[int] = []
    count = int(rng.integers(DIGITS[0], DIGITS[1] + 1))
    for _ in range(_DRAWS):
        if len(areas) == count:
            break
        chosen = int(rng.choice(np.flatnonzero(labels == rng.integers(10))))
        placed = _place(digits[chosen], owner, areas, count, rng)
        if placed is None:  # no room for this one; a narrower one may fit
            continue
        alpha, top, left = placed
        window = (slice(top, top + alpha.shape[0]), slice(left, left + alpha.shape[1]))
        shape = alpha > 0.5
        canvas[window] *= 1 - _SHADOW * cv2.GaussianBlur(alpha, (0, 0), 3)[..., None]  # parts overlapping digits
        canvas[window] += alpha[..., None] * (_ink(rng) - canvas[window])
        mask[window][shape] = labels[chosen] + 1
        owner[window][shape] = len(areas)
        areas.append(int(shape.sum()))
    noise = rng.standard_normal((SCENE_PX, SCENE_PX, 1), np.float32) * np.float32(rng.uniform(0, 8))
    return np.clip(canvas + noise, 0, 255).astype(np.uint8), mask


def _ground(rng: np.random.Generator) -> Floats:
    """A gradient between two colours with clouds over it, (S, S, 3) in 0 to 255."""
    first, second = rng.uniform(10, 110, (2, 3)).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, SCENE_PX, dtype=np.float32)
    position = ramp[None, :] * math.cos(angle) + ramp[:, None] * math.sin(angle) + 0.5
    canvas = first + np.clip(position, 0, 1)[..., None].astype(np.float32) * (second - first)
    cells = int(rng.integers(3, 12))
    clouds = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32) * np.float32(rng.uniform(8, 30))
    canvas += cv2.resize(clouds, (SCENE_PX, SCENE_PX), interpolation=cv2.INTER_CUBIC)
    return np.clip(canvas, 0, _DARK)


def _clutter(canvas: Floats, rng: np.random.Generator) -> None:
    """Boxes, ellipses, lines and bent strokes as thick as a digit's, blended in."""
    for kind in rng.choice(["box", "ellipse", "line", "stroke"], int(rng.integers(4, 11))):
        layer = np.zeros((SCENE_PX, SCENE_PX), np.uint8)
        points = rng.integers(-16, SCENE_PX + 16, (4, 2))
        a, b = tuple(map(int, points[0])), tuple(map(int, points[1]))
        if kind == "box":
            cv2.rectangle(layer, a, (a[0] + int(rng.integers(12, 70)), a[1] + int(rng.integers(12, 70))), 255, -1)
        elif kind == "ellipse":
            axes = (int(rng.integers(6, 40)), int(rng.integers(6, 40)))
            filled = -1 if rng.random() < 0.5 else int(rng.integers(2, 8))
            cv2.ellipse(layer, a, axes, float(rng.uniform(0, 180)), 0, 360, 255, filled, cv2.LINE_AA)
        elif kind == "line":
            cv2.line(layer, a, b, 255, int(rng.integers(1, 7)), cv2.LINE_AA)
        else:
            bend = np.cumsum(rng.integers(-30, 31, (4, 2)), 0) + points[0]
            cv2.polylines(layer, [bend.astype(np.int32)], False, 255, int(rng.integers(6, 14)), cv2.LINE_AA)
        alpha = layer[..., None].astype(np.float32) * np.float32(rng.uniform(0.3, 0.8) / 255)
        canvas += alpha * (rng.uniform(0, _DARK, 3).astype(np.float32) - canvas)


def _place(
    digit: Pixels, owner: NDArray[np.int16], areas: list[int], count: int, rng: np.random.Generator
) -> tuple[Floats, int, int] | None:
    """Find room for a digit: its opacity (h, w) in 0 to 1, and top and left in pixels."""
    largest = DIGIT_PX[1] if count <= 3 else (DIGIT_PX[0] + DIGIT_PX[1]) / 2
    size = rng.uniform(DIGIT_PX[0], largest)
    for attempt in range(_TRIES):
        if attempt % 6 == 0:
            alpha = _stroke(digit, size, rng)
            size = max(float(DIGIT_PX[0]), size * 0.85)
        height, width = alpha.shape
        top = int(rng.integers(0, SCENE_PX - height + 1))
        left = int(rng.integers(0, SCENE_PX - width + 1))
        under = owner[top : top + height, left : left + width][alpha > 0.5]
        covered = np.bincount(under[under >= 0], minlength=len(areas))
        seen = np.bincount(owner[owner >= 0], minlength=len(areas))
        if np.all(seen - covered >= (1 - MAX_COVERED) * np.array(areas)):
            return alpha, top, left
    return None


def _stroke(digit: Pixels, size: float, rng: np.random.Generator) -> Floats:
    """Enlarge an 8x8 digit to `size` pixels, turned and slanted a little: opacity, cut to its edges."""
    side = math.ceil(size * 1.25)
    turn, slant = math.radians(rng.uniform(-12, 12)), rng.uniform(-0.15, 0.15)
    scale = size / 8
    linear = scale * np.array([[math.cos(turn), -math.sin(turn) + slant], [math.sin(turn), math.cos(turn)]])
    shift = np.array([side / 2, side / 2]) - linear @ np.array([3.5, 3.5])  # centre upon centre
    matrix = np.concatenate([linear, shift[:, None]], 1)
    padded = cv2.warpAffine(digit.astype(np.float32) / 255, matrix, (side, side), flags=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(padded, (0, 0), size / 40)  # rounds the corners that the 8x8 grid leaves
    alpha = np.clip((smooth - 0.5) * 5 + 0.5, 0, 1).astype(np.float32)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][:SCENE_PX, :SCENE_PX]


def _ink(rng: np.random.Generator) -> Floats:
    """A light colour of any hue: what a digit is written in, brighter than any ground or clutter."""
    tint = rng.uniform(0, 1, 3)
    tint /= tint.max()  # one channel full
    return (255 * (0.55 + 0.45 * tint)).astype(np.float32)
