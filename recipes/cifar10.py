"""CIFAR-10 at its own 32x32: the first two strides become 1, so that the budget is the published one.

Command:   hswish train CIFAR10 --model mobilenet_v3_small --recipe cifar10
Hardware:  a GPU (--set precision=bf16-mixed --set validate_epochs=25), or CPU cores with AVX-512 and
           bfloat16, two of which make 560 pictures a second with Small, 240 with Large
Time:      an H200 takes 30,000 pictures a second with Large, 49,000 with Small; by these rates
           300 epochs of 50,000 take 8.3 and 5.1 minutes, alone. With --keep-size 3, four teachers and both at once
           79 epochs of Large and 111 of Small took 12 minutes
Aim:       top-1 93 to 94 Small, 95 to 96 Large; published: 92.57, 94.38 at 18.5 and 68.5 MMAdds, of pictures that
           were not compressed. On 1,000 held out, of JPEG files of quality 75: at this recipe's 17.5 and 66.5 MMAdds
           Small and Large, each taught by three networks, came to 93.0 and 93.0; with a third stride kept out
           (--keep-size 3, 60.8 and 227.5 MMAdds) and taught by these to 93.5 and 94.3, which zoo/ holds (zoo/README.md)
Source:    the published figures are BSConv's (zeiss-microscopy/BSConv): SGD 0.1, 200 epochs, batch 128, crop and flip,
           stride 1 in the stem and the first stage. Changed: batches of 256 at 0.2, cosine, averaged weights,
           TrivialAugment, cutmix.
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe

RECIPE = Recipe(
    epochs=300,
    batch_size=256,
    height=32,
    width=32,
    model_options={"keep_size": 2},
    optimizer="sgd",
    lr=0.2,
    schedule="cosine",
    warmup_epochs=5.0,
    weight_decay=5e-4,
    label_smoothing=0.1,
    cutmix=1.0,
    mix_probability=0.5,
    dropout=0.2,
    ema_decay=0.999,
    bn_batches=100,
    held=True,
    augment=Augment(translate=0.125, mirror=0.5, policy="trivial"),
)
