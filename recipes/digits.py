"""scikit-learn's handwritten digits, 1,797 pictures: the demo's classifier.

Command:   hswish train digits --model mobilenet_v3_small
Hardware:  2 CPU cores
Time:      about 45 seconds
Expected:  test top-1 0.99
Source:    our own, as recipes/classify.py; the data are scikit-learn's load_digits
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=12,
    batch_size=32,
    lr=3e-3,
    weight_decay=0.02,
    ema_decay=0.99,
    # A mirrored 2 is no 2, and a digit cut in half is none either: shift and turn a little instead.
    augment=Augment(scale=(0.75, 1.0), mirror=0.0, rotate=12.0, brightness=0.2, contrast=0.2),
)
