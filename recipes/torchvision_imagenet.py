"""ImageNet as torchvision trained its first weights (IMAGENET1K_V1): RMSProp, 600 epochs.

Command:   torchrun --nproc-per-node 8 -m hswish train IMAGENET --model mobilenet_v3_large --recipe torchvision_imagenet
Hardware:  8 GPUs, 128 pictures each
Time:      not run here: no GPU. Exercised for a few steps on stand-in data by the tests
Expected:  top-1 74.0 Large, 67.7 Small (torchvision's weights are the mean of three checkpoints that improved)
Source:    torchvision's references/classification/README.md: RMSProp lr 0.064, x0.973 every 2 epochs, weight decay
           1e-5, AutoAugment, random erasing 0.2. Differences: weights are averaged, and norms and biases do not
           decay; its epsilon of 0.0316 outside the root stands for
           TensorFlow's 0.001 inside, which we take as it is; RandAugment stands for AutoAugment's searched policy.
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=600,
    batch_size=1024,
    optimizer="rmsprop",
    rmsprop_eps=1e-3,
    lr=0.064,
    schedule="step",
    step_factor=0.973,
    step_epochs=2.0,
    warmup_epochs=0.0,
    weight_decay=1e-5,
    clip_norm=0.0,
    label_smoothing=0.0,
    dropout=0.2,
    ema_decay=0.9999,
    bn_momentum=0.01,
    augment=Augment(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), mirror=0.5, policy="random", erase=0.2),
)
