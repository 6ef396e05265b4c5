"""Scenes composed of handwritten digits over clutter, with exact masks: the demo's segmenter.

Command:   hswish train digit-scenes --model lraspp_mobilenet_v3_small
Hardware:  2 CPU cores
Time:      about 3 minutes
Expected:  test mIoU 0.80
Source:    our own, as recipes/segment.py; the scenes are made of scikit-learn's load_digits
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=9,
    batch_size=8,
    lr=1e-2,
    weight_decay=0.01,
    label_smoothing=0.0,
    # No class weights: they would widen every stroke, and the score punishes that (docs/log.md).
    class_weights="none",
    ema_decay=0.99,
    # No mirror: a mirrored 2 is no 2.
    augment=Augment(scale=(0.8, 1.25), rotate=4.0, brightness=0.2, contrast=0.2),
)
