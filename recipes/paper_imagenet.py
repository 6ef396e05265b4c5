"""ImageNet as "Searching for MobileNetV3" trained it: RMSProp in steps, averaged weights.

Command:   torchrun --nproc-per-node 8 -m hswish train IMAGENET --model mobilenet_v3_large --recipe paper_imagenet
Hardware:  the paper: 4x4 TPU pod, batch 4096. Here: 8 GPUs of 16 GB or more, 192 pictures each, as slim's command
Time:      not run here: no GPU. Exercised for a few steps on stand-in data by the tests
Expected:  top-1 75.2 Large, 67.4 Small (the paper; slim reports 74.6 on 8 GPUs, 75.2 on a TPU pod)
Source:    Howard et al. 2019, section 6.1.1, and the command in slim's README where the paper is silent:
           lr 0.16 for a batch of 1536, x0.99 every 3 epochs, warm-up of 5 epochs, epsilon 0.002, label smoothing 0.1.
           Neither gives the number of epochs: 600, as torchvision and timm took. Crop and colour stand for
           the "Inception preprocessing" of both.
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=600,
    batch_size=1536,
    optimizer="rmsprop",
    rmsprop_eps=2e-3,
    lr=0.16,
    schedule="step",
    step_factor=0.99,
    step_epochs=3.0,
    warmup_epochs=5.0,
    weight_decay=1e-5,
    clip_norm=0.0,
    label_smoothing=0.1,
    dropout=0.2,
    ema_decay=0.9999,
    bn_momentum=0.01,
    # 8 % of the area and a shape of 3:4 to 4:3, colours by up to 32/255, 50 %, 0.2 (Inception's "fast" colours aside).
    augment=Augment(
        scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), mirror=0.5, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.2
    ),
)
