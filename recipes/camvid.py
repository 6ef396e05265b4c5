"""CamVid from scratch at 360x480, 11 classes.

Command:   hswish train CAMVID --model lraspp_mobilenet_v3_small --recipe camvid
           (Large: --model lraspp_mobilenet_v3_large --batch-size 8 --set accumulate=2)
Hardware:  a GPU of 8 GB, or patience: one CPU core with AVX-512 and bfloat16 does 20 pictures a second with Small
           (--set precision=bf16-mixed), 8 with Large
Time:      1000 epochs of Small on such a core 7 h, by this rate; an H200 does 441 epochs of Large in 9 minutes with two
           other trainings beside (--set held=true --set precision=bf16-mixed), 430 pictures a second, and 1,030 while
           these stand still
Aim:       test mIoU 57 to 64 Small, 63 to 71 Large. Published from scratch at this size: ENet 51 to 53, ESPNet 55.6,
           CGNet 65.6, DABNet 66.7, LETNet 70.5. The test pictures are not at hand; zoo/ holds Large after 260
           epochs and 441 more, Small after 205, 118 taught by that Large, and 240 (zoo/README.md). On 91 pictures of
           streets that it has not driven a Small that learnt 266 of the others for 200 epochs has 0.535 (docs/log.md)
Source:    the protocol of those (DABNet, CGNet, LETNet): 800 to 1000 epochs of train + val (468 pictures), weighted
           cross-entropy, zoom 0.5 to 2, poly 0.9. Changed: AdamW with averaged weights; a Lovasz loss, which is
           the score's own gradient; an auxiliary mask; rare things pasted in; batch norms measured anew.
Splits:    CamVid's val is drive 0016E5, which train contains too, while most of test is a drive seen in neither.
           To choose settings, leave whole drives out: put all pictures of 0001TP, of 0006R0 or of 0016E5 into val.
           For the final model put train + val into train, as the published ones do, and a copy of a few into val.
"""

from hswish.data.augment import Augment
from hswish.train.recipe import Recipe
from hswish.train.recipe_groups import Loss

RECIPE = Recipe(
    epochs=1000,
    batch_size=16,
    height=360,
    width=480,
    lr=3e-3,
    weight_decay=0.02,
    schedule="poly",
    warmup_epochs=10.0,
    label_smoothing=0.0,
    class_weights="inverse_log",
    loss=Loss(region="lovasz", stride=2, region_weight=0.5, region_stride=4, auxiliary=0.4),
    ema_decay=0.998,
    bn_batches=30,
    augment=Augment(
        scale=(0.5, 2.0),
        ratio=(0.9, 1.1),
        mirror=0.5,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.05,
        paste=0.3,
    ),
)
