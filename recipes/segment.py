"""Segmentation of any folder of pictures and masks: the default.

Command:   hswish train DATA --model lraspp_mobilenet_v3_small
Hardware:  2 CPU cores do 15 pictures a second with Small at 360x480, 6 with Large
Time:      8 epochs of CamVid with Small: 4 minutes
Expected:  val mIoU 0.45 after these 8 epochs (docs/log.md)
Source:    scale jitter 0.5 to 2 and mirror as in the DeepLab line of work; rare classes
           weigh more by the inverse logarithm of their frequency (ENet, arXiv 1606.02147).
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=120,
    batch_size=8,
    lr=2e-3,
    weight_decay=0.01,
    label_smoothing=0.0,
    class_weights="inverse_log",
    augment=Augment(scale=(0.5, 2.0), mirror=0.5, brightness=0.3, contrast=0.3, saturation=0.3),
)
