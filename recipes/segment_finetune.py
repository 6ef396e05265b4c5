"""Pictures with masks, a few hundred or fewer, from trained weights.

Command:   hswish train SCENES --model lraspp_mobilenet_v3_large --weights BEST --recipe segment_finetune
           BEST: the best.safetensors of a run on other scenes, or the classifier of its backbone,
           mobilenet_v3_large.tv_in1k_v2
Hardware:  2 CPU cores do 15 pictures a second with Small at 360x480, 6 with Large
Time:      it stops when 15 epochs have brought nothing
Aim:       above the same network from scratch. Not measured: published weights could not be fetched here
Source:    as recipes/finetune.py for the care, recipes/camvid.py for the losses
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe
from hswish.train.recipe_groups import FineTuning, Loss

RECIPE = Recipe(
    epochs=80,
    patience=15,
    batch_size=8,
    lr=1e-3,
    weight_decay=0.01,
    warmup_epochs=1.0,
    label_smoothing=0.0,
    loss=Loss(region="lovasz", region_weight=0.5),
    ema_decay=0.99,
    bn_momentum=0.01,
    finetune=FineTuning(freeze_epochs=3, backbone_lr=0.5, depth_decay=0.9),
    augment=Augment(scale=(0.5, 2.0), mirror=0.5, brightness=0.3, contrast=0.3, saturation=0.3),
)
