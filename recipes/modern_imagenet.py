"""ImageNet with what has been learned since: long cosine, TrivialAugment, mixed pictures, dropped paths.

Command:   torchrun --nproc-per-node 8 -m hswish train IMAGENET --model mobilenet_v3_large --recipe modern_imagenet
Hardware:  8 GPUs, 128 pictures each, bf16
Time:      not run here: no GPU. Exercised for a few steps on stand-in data by the tests
Expected:  top-1 75 to 76 Large: torchvision's V2 weights, from the recipe below, have 75.27; timm's 75.77
Source:    torchvision's "new recipe" (pytorch.org/blog, 2021; its issue 3995): SGD 0.5, cosine, warm-up 5, 600 epochs,
           weight decay 2e-5 and none on norms, label smoothing, mixup 0.2, cutmix 1, TrivialAugment, erasing 0.1, EMA.
           Networks this small underfit, so the regularisation is milder: mixing half the batches only, dropped paths
           0.1 and dropout 0.2 as timm's large_100.ra. The exact flags of torchvision's V2 weights are not published.
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=600,
    batch_size=1024,
    optimizer="sgd",
    lr=0.5,
    schedule="cosine",
    warmup_epochs=5.0,
    weight_decay=2e-5,
    clip_norm=5.0,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=1.0,
    mix_probability=0.5,
    dropout=0.2,
    drop_path=0.1,
    ema_decay=0.9999,
    bn_momentum=0.01,
    bn_batches=100,
    precision="bf16-mixed",
    augment=Augment(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), mirror=0.5, policy="trivial", erase=0.1),
)
