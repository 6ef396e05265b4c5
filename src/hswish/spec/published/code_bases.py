"""What other code bases print about the same networks: the authors' releases and re-implementations.

Sources: tensorflow/models (`research/slim/nets/mobilenet/README.md`, `research/deeplab/g3doc/model_zoo.md`),
keras-team/keras (documentation of `MobileNetV3Large` and `MobileNetV3Small`), pytorch/vision (metadata of the
weights), huggingface/pytorch-image-models (`results/results-imagenet.csv`), d-li14/mobilenetv3.pytorch and
ekzhang/fastseg (README). Their `top1` are each source's own measurement.
"""

from __future__ import annotations

from typing import Any

from hswish.spec.published.row import Printed, PublishedRow

_Row = tuple[str, dict[str, Any], float, str | None, str | None]


def _classifiers(source: str, *rows: _Row, side_px: int = 224) -> list[PublishedRow]:
    """Rows of (network, options, top-1 in percent, parameters, multiply-adds) on square ImageNet pictures."""
    return [
        PublishedRow(
            source=source,
            model=f"mobilenet_v3_{network}",
            options=options,
            size_px=(side_px, side_px),
            parameters=Printed(parameters) if parameters else None,
            multiply_adds=Printed(multiply_adds) if multiply_adds else None,
            top1=top1,
        )
        for network, options, top1, parameters, multiply_adds in rows
    ]


_SLIM = _classifiers(
    "TensorFlow slim README",
    ("large", {}, 75.2, "5.4M", "217M"),
    ("large", {"width_mult": 0.75}, 73.3, "4.0M", "155M"),
    ("large_minimal", {}, 72.3, "3.9M", "209M"),
    ("small", {"head_channels": 1280}, 67.5, "2.9M", "66M"),
    ("small", {"head_channels": 1280, "width_mult": 0.75}, 65.4, "2.4M", "44M"),
    ("small_minimal", {}, 61.9, "2.0M", "65M"),
)

_KERAS = _classifiers(
    "Keras documentation",
    ("large", {"width_rule": "keras"}, 75.6, None, None),
    ("large", {"width_rule": "keras", "width_mult": 0.75}, 73.3, None, None),
    ("large_minimal", {"width_rule": "keras"}, 72.3, None, None),
    ("small", {"width_rule": "keras"}, 68.1, None, None),
    ("small", {"width_rule": "keras", "width_mult": 0.75}, 65.4, None, None),
    ("small_minimal", {"width_rule": "keras"}, 61.9, None, None),
)

_TORCHVISION = [
    *_classifiers(
        "torchvision, IMAGENET1K_V1",
        ("large", {}, 74.042, "5,483,032", "0.217G"),
        ("small", {}, 67.668, "2,542,856", "0.057G"),
    ),
    *_classifiers("torchvision, IMAGENET1K_V2", ("large", {}, 75.274, "5,483,032", "0.217G")),
    PublishedRow(
        source="torchvision, lraspp",
        model="lraspp_mobilenet_v3_large",
        options={"head": "torchvision"},
        size_px=(520, 520),
        parameters=Printed("3,221,538"),
        multiply_adds=Printed("2.09G"),
        miou=57.9,
        data="COCO, VOC's classes",
    ),
]

# The tf_ rows are Google's released weights, measured again by timm.
_TIMM = [
    *_classifiers(
        "timm, tf_*.in1k",
        ("large", {}, 75.510, "5.48M", None),
        ("large", {"width_mult": 0.75}, 73.442, "3.99M", None),
        ("large_minimal", {}, 72.270, "3.92M", None),
        ("small", {}, 67.922, "2.54M", None),
        ("small", {"width_mult": 0.75}, 65.706, "2.04M", None),
        ("small_minimal", {}, 62.892, "2.04M", None),
    ),
    *_classifiers(
        "timm, *.ra_in1k, lamb_in1k",
        ("large", {"width_rule": "timm"}, 75.784, "5.48M", None),
        ("small", {"width_rule": "timm"}, 67.636, "2.54M", None),
        ("small", {"width_rule": "timm", "width_mult": 0.75}, 65.284, "2.04M", None),
        ("small", {"width_rule": "timm", "width_mult": 0.5}, 57.918, "1.59M", None),
    ),
    *_classifiers("timm, rw.rmsp_in1k", ("large", {"block_rule": "timm_rw"}, 75.616, "5.48M", None)),
    *_classifiers(
        "timm, 150d.ra4_e3600_r256_in1k",
        ("large", {"width_rule": "timm", "width_mult": 1.5, "depth_mult": 1.2}, 80.994, "14.62M", None),
        side_px=256,
    ),
]

_D_LI14 = _classifiers(
    "d-li14/mobilenetv3.pytorch",
    ("large", {}, 74.280, "5.483M", "216.60M"),
    ("large", {"width_mult": 0.75}, 72.842, "3.994M", "154.57M"),
    ("small", {}, 67.214, "2.543M", "56.52M"),
    ("small", {"width_mult": 0.75}, 64.876, "2.042M", "43.40M"),
)

_DEEPLAB = [
    PublishedRow(
        source="TensorFlow DeepLab zoo",
        model=f"lraspp_mobilenet_v3_{size}",
        options={"head": "official", "output_stride": 32},
        size_px=(1024, 2048),
        multiply_adds=Printed(multiply_adds),
        miou=miou,
        data="Cityscapes val",
    )
    for size, miou, multiply_adds in (("large", 72.41, "15.95B"), ("small", 68.99, "4.63B"))
]

_FASTSEG = [
    PublishedRow(
        source="fastseg README",
        model=f"lraspp_mobilenet_v3_{size}",
        options={"head": "fastseg", "head_channels": channels},
        size_px=(1024, 2048),
        parameters=Printed(parameters),
        miou=miou,
        data="Cityscapes val",
    )
    for size, channels, miou, parameters in (
        ("large", 256, 72.3, "3.6M"),
        ("large", 128, 72.3, "3.2M"),
        ("small", 256, 67.8, "1.4M"),
        ("small", 128, 67.4, "1.1M"),
        ("small", 64, 66.9, "1.0M"),
    )
]

CODE_BASE_ROWS: tuple[PublishedRow, ...] = (
    *_SLIM,
    *_KERAS,
    *_TORCHVISION,
    *_TIMM,
    *_D_LI14,
    *_DEEPLAB,
    *_FASTSEG,
)
