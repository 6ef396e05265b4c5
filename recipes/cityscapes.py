"""Cityscapes from scratch, fine annotations only: what the paper's Tables 7 and 8 stand for.

Command:   torchrun --nproc-per-node 4 -m hswish train CITYSCAPES --model lraspp_mobilenet_v3_large --recipe cityscapes
Hardware:  4 GPUs of 24 GB, 4 crops of 768x1536 each
Time:      not run here: no GPU. Exercised for a few steps on stand-in data by the tests
Aim:       val mIoU 72.4 Large, 68.4 Small (the paper; mmsegmentation from scratch, 512x1024: 67.9 and 62.7)
Source:    Howard et al. 2019, section 6.4; DeepLab's g3doc/cityscapes.md: 90,000 steps of 16 crops, 484 epochs of
           2,975 pictures; zoom 0.5 to 2, mirror, poly 0.9. The schedule of the MobileNetV3 runs is not published.
           The auxiliary mask and OHEM follow the from-scratch line of BiSeNet and DDRNet.
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe
from hswish.train.recipe_groups import Loss

RECIPE = Recipe(
    epochs=484,
    batch_size=16,
    height=768,
    width=1536,
    optimizer="sgd",
    lr=0.05,
    schedule="poly",
    warmup_epochs=5.0,
    weight_decay=5e-5,
    label_smoothing=0.0,
    loss=Loss(pixel="ohem", ohem_threshold=0.7, ohem_keep=0.0625, auxiliary=0.4),
    ema_decay=0.999,
    bn_momentum=0.03,
    bn_batches=50,
    precision="bf16-mixed",
    augment=Augment(scale=(0.5, 2.0), mirror=0.5, brightness=0.4, contrast=0.4, saturation=0.4),
)
