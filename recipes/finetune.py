"""A small folder of pictures, 50 to 5,000, from trained weights: the most common use.

Command:   hswish train PICTURES --model mobilenet_v3_large --weights mobilenet_v3_large.tv_in1k_v2 --recipe finetune
Hardware:  2 CPU cores are enough
Time:      minutes: it stops when 10 epochs have brought nothing
Expected:  above the same network from scratch. Measured on digits, 20 pictures a class (the first of its train; a fifth
           held out), on the 359 of test, with --set augment.mirror=0 and seeds 0 and 1: Small from zoo/'s CIFAR-10
           weights top-1 0.858 and 0.855, from scratch by recipe classify (--keep-size 3 --size 32 --epochs 60
           --batch-size 32 --lr 0.001) 0.822 and 0.841. Not measured: from ImageNet's weights, which could not be
           fetched here, and on photographs
Source:    the head alone first, so that its random gradients do no harm below (ULMFiT, arXiv 1801.06146); then all,
           the lower the slower (arXiv 2106.08254 for the decay by depth); early stopping
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe
from hswish.train.recipe_groups import FineTuning

RECIPE = Recipe(
    epochs=60,
    patience=10,
    batch_size=32,
    lr=1e-3,
    weight_decay=0.02,
    warmup_epochs=1.0,
    ema_decay=0.99,
    # Trained statistics are better than those of a few batches: they move slowly.
    bn_momentum=0.01,
    finetune=FineTuning(freeze_epochs=3, backbone_lr=0.5, depth_decay=0.9),
    augment=Augment(scale=(0.35, 1.0), ratio=(3 / 4, 4 / 3), mirror=0.5, brightness=0.3, contrast=0.3, saturation=0.3),
)
