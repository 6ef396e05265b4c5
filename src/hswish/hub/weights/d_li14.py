"""Weights of d-li14/mobilenetv3.pytorch, with the figures of its README.

Files carry the first eight digits of their SHA-256.
"""

from __future__ import annotations

from hswish.hub.weights.row import PublishedWeights, pictures
from hswish.spec.preprocess import Preprocess

_PAGE = "https://github.com/d-li14/mobilenetv3.pytorch"
_PREPROCESS = pictures(224, 256, Preprocess(height=224, width=224))


def _row(
    name: str, network: str, file: str, digits: str, parameters: int, top1: float, top5: float
) -> PublishedWeights:
    return PublishedWeights(
        name=name,
        source=f"d-li14:{network}",
        url=f"{_PAGE}/raw/master/pretrained/mobilenetv3-{file}-{digits}.pth",
        checksum=f"sha256:{digits}",
        parameters=parameters,
        metrics={"top1": round(top1 / 100, 5), "top5": round(top5 / 100, 5)},
        preprocess=_PREPROCESS,
        licence="MIT",
        page=_PAGE,
    )


# fmt: off
ROWS = (
    _row("mobilenet_v3_large.dli14_in1k", "mobilenetv3_large", "large", "1cd25616", 5_483_032, 74.280, 91.928),
    _row("mobilenet_v3_large.dli14_075_in1k", "mobilenetv3_large", "large-0.75", "9632d2a8", 3_993_528, 72.842, 90.846),
    _row("mobilenet_v3_small.dli14_in1k", "mobilenetv3_small", "small", "55df8e1f", 2_542_856, 67.214, 87.304),
    _row("mobilenet_v3_small.dli14_075_in1k", "mobilenetv3_small", "small-0.75", "86c972c3", 2_041_872, 64.876, 85.498),
)
# fmt: on
