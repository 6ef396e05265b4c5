"""Augmentation: of one picture after the other on a CPU, or of whole batches on the device that holds them.

settings      how much, as a recipe says it
pictures      one by one, by albumentations        batches, batch_*   whole batches, by torch
policy        TrivialAugment's and RandAugment's operations, for both
rare_things, mixing   one picture out of two
"""

from hswish.data.augment.settings import Augment

__all__ = ["Augment"]
