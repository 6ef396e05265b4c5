"""torchvision's weights: `torchvision/models/mobilenetv3.py` and `segmentation/lraspp.py` (0.29.1).

Files carry the first eight digits of their SHA-256. The quantised Large
(mobilenet_v3_large_qnnpack-5bcacf28.pth) is left out: it holds the float weights of
quantisation-aware training together with its observers, and its 73.0 % were measured with
8-bit arithmetic; run in float it is another network, which nobody has measured.
"""

from __future__ import annotations

from hswish.hub.weights.row import PublishedWeights, pictures
from hswish.spec.preprocess import Preprocess

_HOST = "https://download.pytorch.org/models"
_DOCS = "https://docs.pytorch.org/vision/stable/models"
_IMAGENET = pictures(224, 256, Preprocess(height=224, width=224))

ROWS = (
    PublishedWeights(
        name="mobilenet_v3_large.tv_in1k_v2",
        source="torchvision:mobilenet_v3_large",
        url=f"{_HOST}/mobilenet_v3_large-5c1a4163.pth",
        checksum="sha256:5c1a4163",
        parameters=5_483_032,
        size_mb=21.107,
        metrics={"top1": 0.75274, "top5": 0.92566},
        preprocess=pictures(224, 232, _IMAGENET),
        licence="BSD-3-Clause",
        page=f"{_DOCS}/generated/torchvision.models.mobilenet_v3_large.html",
    ),
    PublishedWeights(
        name="mobilenet_v3_large.tv_in1k_v1",
        source="torchvision:mobilenet_v3_large",
        url=f"{_HOST}/mobilenet_v3_large-8738ca79.pth",
        checksum="sha256:8738ca79",
        parameters=5_483_032,
        size_mb=21.114,
        metrics={"top1": 0.74042, "top5": 0.91340},
        preprocess=_IMAGENET,
        licence="BSD-3-Clause",
        page=f"{_DOCS}/generated/torchvision.models.mobilenet_v3_large.html",
    ),
    PublishedWeights(
        name="mobilenet_v3_small.tv_in1k_v1",
        source="torchvision:mobilenet_v3_small",
        url=f"{_HOST}/mobilenet_v3_small-047dcff4.pth",
        checksum="sha256:047dcff4",
        parameters=2_542_856,
        size_mb=9.829,
        metrics={"top1": 0.67668, "top5": 0.87402},
        preprocess=_IMAGENET,
        licence="BSD-3-Clause",
        page=f"{_DOCS}/generated/torchvision.models.mobilenet_v3_small.html",
    ),
    PublishedWeights(
        name="lraspp_mobilenet_v3_large.tv_coco_voc",
        source="torchvision:lraspp_mobilenet_v3_large",
        url=f"{_HOST}/lraspp_mobilenet_v3_large-d234d4ea.pth",
        checksum="sha256:d234d4ea",
        parameters=3_221_538,
        size_mb=12.49,
        data="COCO (Pascal VOC's classes)",
        metrics={"miou": 0.579, "pixel_accuracy": 0.912},
        preprocess=Preprocess(height=520, width=520, resize="shorter"),
        licence="BSD-3-Clause",
        page=f"{_DOCS}/generated/torchvision.models.segmentation.lraspp_mobilenet_v3_large.html",
    ),
)
