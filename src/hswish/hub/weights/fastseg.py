"""fastseg's Cityscapes weights: `fastseg/model/base.py` (0.1.2), with the figures of its README (validation).

Files carry the first eight digits of their SHA-256. Pictures go in at their own size, 1024 x 2048.
"""

from __future__ import annotations

from hswish.hub.weights.row import PublishedWeights
from hswish.spec.preprocess import Preprocess

_RELEASE = "https://github.com/ekzhang/fastseg/releases/download/v0.1-weights"


def _row(name: str, network: str, file: str, digits: str, parameters: int, miou: float) -> PublishedWeights:
    return PublishedWeights(
        name=name,
        source=f"fastseg:{network}",
        url=f"{_RELEASE}/mobilev3{file}-{digits}.pt",
        checksum=f"sha256:{digits}",
        parameters=parameters,
        data="Cityscapes",
        metrics={"miou": round(miou / 100, 5)},
        preprocess=Preprocess(height=1024, width=2048, resize="shorter"),
        licence="MIT",
        page="https://github.com/ekzhang/fastseg",
    )


# fmt: off
ROWS = (
    _row("lraspp_mobilenet_v3_large.fastseg_f256", "MobileV3Large", "large-lraspp-f256", "9b613ffd", 3_693_379, 72.3),
    _row("lraspp_mobilenet_v3_large.fastseg_f128", "MobileV3Large", "large-lraspp-f128", "9cbabfde", 3_284_547, 72.3),
    _row("lraspp_mobilenet_v3_small.fastseg_f256", "MobileV3Small", "small-lraspp-f256", "d853f901", 1_451_315, 67.8),
    _row("lraspp_mobilenet_v3_small.fastseg_f128", "MobileV3Small", "small-lraspp-f128", "a39a1e4b", 1_140_787, 67.4),
    _row("lraspp_mobilenet_v3_small.fastseg_f64", "MobileV3Small", "small-lraspp-f64", "114fc23b", 1_022_387, 66.9),
)
# fmt: on
