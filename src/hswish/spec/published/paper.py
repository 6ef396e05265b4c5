"""The paper's own rows, as printed.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019: Table 3 (ImageNet), Tables 7 and 8
(Cityscapes); the first arXiv versions (1905.02244) for the appendix, Table 9. Tables 4 (8-bit), 5
(ablations) and 6 (SSDLite) have no network that is built here.
"""

from __future__ import annotations

from typing import Any

from hswish.spec.published.row import Printed, PublishedRow

_FULL, _HALF = (1024, 2048), (512, 1024)


def _classifier(source: str, size: str, width: float, side_px: int, top1: float, madds: str, params: str) -> Any:
    """A row of Table 3 or 9. Their Small counts are those of the 1280 channels that Table 2 prints."""
    return PublishedRow(
        source=source,
        from_paper=True,
        model=f"mobilenet_v3_{size}",
        options={"width_mult": width, **({"head_channels": 1280} if size == "small" else {})},
        size_px=(side_px, side_px),
        parameters=Printed(params),
        multiply_adds=Printed(madds),
        top1=top1,
    )


def _segmenter(
    source: str, size: str, size_px: tuple[int, int], miou: float | None, madds: str, *, part: str, **options: Any
) -> PublishedRow:
    """A row of Table 7 or 8; the options beside ours are what the row says."""
    parameters = options.pop("parameters", None)
    return PublishedRow(
        source=source,
        from_paper=True,
        model=f"lraspp_mobilenet_v3_{size}",
        options=options,
        size_px=size_px,
        parameters=Printed(parameters) if parameters else None,
        multiply_adds=Printed(madds),
        miou=miou,
        data=f"Cityscapes {part}",
    )


_TABLE_3 = [
    _classifier("ICCV 2019, Table 3", *row)
    for row in (
        ("large", 1.0, 224, 75.2, "219M", "5.4M"),
        ("large", 0.75, 224, 73.3, "155M", "4.0M"),
        ("small", 1.0, 224, 67.4, "66M", "2.9M"),
        ("small", 0.75, 224, 65.4, "44M", "2.4M"),
    )
]

_TABLE_9 = [
    _classifier("early arXiv, Table 9", *row)
    for row in (
        ("large", 1.25, 224, 76.6, "356M", "7.5M"),
        ("large", 1.0, 224, 75.2, "217M", "5.4M"),
        ("large", 0.75, 224, 73.3, "155M", "4.0M"),
        ("large", 0.5, 224, 68.8, "69M", "2.6M"),
        ("large", 0.35, 224, 64.2, "40M", "2.2M"),
        ("large", 1.0, 256, 76.0, "282M", "5.4M"),
        ("large", 1.0, 192, 73.7, "160M", "5.4M"),
        ("large", 1.0, 160, 71.7, "112M", "5.4M"),
        ("large", 1.0, 128, 68.4, "73M", "5.4M"),
        ("large", 1.0, 96, 63.3, "43M", "5.4M"),
        ("small", 1.25, 224, 70.4, "91M", "3.6M"),
        ("small", 1.0, 224, 67.5, "66M", "2.9M"),
        ("small", 0.75, 224, 65.4, "44M", "2.4M"),
        ("small", 0.5, 224, 58.0, "23M", "1.9M"),
        ("small", 0.35, 224, 49.8, "13M", "1.7M"),
        ("small", 1.0, 256, 68.5, "74M", "2.9M"),
        ("small", 1.0, 192, 65.4, "42M", "2.9M"),
        ("small", 1.0, 160, 62.8, "30M", "2.9M"),
        ("small", 1.0, 128, 57.3, "20M", "2.9M"),
        ("small", 1.0, 96, 51.7, "12M", "2.9M"),
    )
]

# Output stride 16. RF2 is `reduced_tail`; row 5 is the only one without.
_TABLE_7 = [
    _segmenter(f"ICCV 2019, Table 7, row {number}", size, _FULL, miou, madds, part="val", parameters=params, **options)
    for number, size, miou, params, madds, options in (
        (5, "large", 72.64, "3.60M", "18.43B", {"head": "raspp", "reduced_tail": False}),
        (6, "large", 71.91, "1.76M", "11.24B", {"head": "raspp"}),
        (7, "large", 72.37, "1.63M", "10.33B", {"head_channels": 256}),
        (8, "large", 72.36, "1.51M", "9.74B", {}),
        (11, "small", 68.38, "0.47M", "2.90B", {}),
    )
]

# One score a network; the multiply-adds at full and at half size.
_TABLE_8 = [
    _segmenter("ICCV 2019, Table 8", size, size_px, score, madds, part="test", output_stride=output_stride)
    for size, output_stride, miou, full, half in (
        ("large", 16, 72.6, "9.74B", "2.48B"),
        ("large", 32, 72.0, "7.74B", "1.98B"),
        ("small", 16, 69.4, "2.90B", "0.74B"),
        ("small", 32, 68.3, "2.06B", "0.53B"),
    )
    for size_px, score, madds in ((_FULL, miou, full), (_HALF, None, half))
]

PAPER_ROWS: tuple[PublishedRow, ...] = (*_TABLE_3, *_TABLE_9, *_TABLE_7, *_TABLE_8)
