"""timm's weights: `timm/models/mobilenetv3.py` (1.0.31) and `results/results-imagenet.csv`.

Release files carry the first eight digits of their SHA-256; two are on the Hugging Face hub
only. The `tf_` networks are Google's released TensorFlow weights, converted and measured by timm.
timm scales to floor(size / crop): 256 for 0.875 of 224, 235 and 269 for 0.95 of 224 and 256.
"""

from __future__ import annotations

from dataclasses import replace

from hswish.hub.weights.row import PublishedWeights, pictures
from hswish.spec.preprocess import Preprocess

_HOST = "https://github.com/rwightman/pytorch-image-models/releases/download"
_RELEASE = f"{_HOST}/v0.1-weights"
_PAGE = "https://github.com/huggingface/pytorch-image-models/blob/main/results/results-imagenet.csv"

_BILINEAR = pictures(224, 256, Preprocess(height=224, width=224))
_BICUBIC = replace(_BILINEAR, interpolation="bicubic")
_TF = replace(_BILINEAR, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_ZERO_TO_ONE = replace(_BILINEAR, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _row(
    name: str, also: str, url: str, parameters: int, top1: float, top5: float | None, preprocess: Preprocess
) -> PublishedWeights:
    """What all rows share; the figures in percent, as timm prints them; the hash stands in the file's name."""
    digits = url.rsplit("-", 1)[-1].removesuffix(".pth") if url.endswith(".pth") else None
    figures = {"top1": top1, **({"top5": top5} if top5 is not None else {})}
    return PublishedWeights(
        name=name,
        also=also,
        source=f"timm:{also.split('.')[0]}",
        url=url,
        checksum=f"sha256:{digits}" if digits else None,
        parameters=parameters,
        metrics={key: round(percent / 100, 5) for key, percent in figures.items()},
        preprocess=preprocess,
        licence="Apache-2.0",
        page=_PAGE,
    )


# fmt: off
ROWS = (
    _row("mobilenet_v3_large.timm_ra_in1k", "mobilenetv3_large_100.ra_in1k",
         f"{_RELEASE}/mobilenetv3_large_100_ra-f55367f5.pth", 5_483_032, 75.784, 92.528, _BICUBIC),
    _row("mobilenet_v3_large.timm_ra4_in1k", "mobilenetv3_large_100.ra4_e3600_r224_in1k",
         "hf://timm/mobilenetv3_large_100.ra4_e3600_r224_in1k", 5_483_032, 76.310, None,
         replace(pictures(224, 235, _TF), interpolation="bicubic")),
    _row("mobilenet_v3_large.timm_miil_in21k_ft_in1k", "mobilenetv3_large_100.miil_in21k_ft_in1k",
         f"{_HOST}/v0.1-tresnet/mobilenetv3_large_100_1k_miil_78_0-66471c13.pth", 5_483_032, 77.920, None,
         _ZERO_TO_ONE),
    _row("mobilenet_v3_large.timm_150d_ra4_in1k", "mobilenetv3_large_150d.ra4_e3600_r256_in1k",
         "hf://timm/mobilenetv3_large_150d.ra4_e3600_r256_in1k", 14_622_320, 80.994, None, pictures(256, 269, _TF)),
    _row("mobilenet_v3_large.timm_rw_in1k", "mobilenetv3_rw.rmsp_in1k", f"{_RELEASE}/mobilenetv3_100-35495452.pth",
         5_479_918, 75.616, None, _BICUBIC),
    _row("mobilenet_v3_small.timm_lamb_in1k", "mobilenetv3_small_100.lamb_in1k",
         f"{_RELEASE}/mobilenetv3_small_100_lamb-266a294c.pth", 2_542_856, 67.636, 87.638, _BICUBIC),
    _row("mobilenet_v3_small.timm_075_lamb_in1k", "mobilenetv3_small_075.lamb_in1k",
         f"{_RELEASE}/mobilenetv3_small_075_lambc-384766db.pth", 2_041_872, 65.284, None, _BICUBIC),
    _row("mobilenet_v3_small.timm_050_lamb_in1k", "mobilenetv3_small_050.lamb_in1k",
         f"{_RELEASE}/mobilenetv3_small_050_lambc-4b7bbe87.pth", 1_593_224, 57.918, None, _BICUBIC),
    _row("mobilenet_v3_large.tf_in1k", "tf_mobilenetv3_large_100.in1k",
         f"{_RELEASE}/tf_mobilenetv3_large_100-427764d5.pth", 5_483_032, 75.510, 92.600, _TF),
    _row("mobilenet_v3_large.tf_075_in1k", "tf_mobilenetv3_large_075.in1k",
         f"{_RELEASE}/tf_mobilenetv3_large_075-150ee8b0.pth", 3_993_528, 73.442, 91.332, _TF),
    _row("mobilenet_v3_large_minimal.tf_in1k", "tf_mobilenetv3_large_minimal_100.in1k",
         f"{_RELEASE}/tf_mobilenetv3_large_minimal_100-8596ae28.pth", 3_924_288, 72.270, 90.664, _TF),
    _row("mobilenet_v3_small.tf_in1k", "tf_mobilenetv3_small_100.in1k",
         f"{_RELEASE}/tf_mobilenetv3_small_100-37f49e2b.pth", 2_542_856, 67.922, 87.686, _TF),
    _row("mobilenet_v3_small.tf_075_in1k", "tf_mobilenetv3_small_075.in1k",
         f"{_RELEASE}/tf_mobilenetv3_small_075-da427f52.pth", 2_041_872, 65.706, 86.130, _TF),
    _row("mobilenet_v3_small_minimal.tf_in1k", "tf_mobilenetv3_small_minimal_100.in1k",
         f"{_RELEASE}/tf_mobilenetv3_small_minimal_100-922a7843.pth", 2_044_736, 62.892, 84.270, _TF),
)
# fmt: on
