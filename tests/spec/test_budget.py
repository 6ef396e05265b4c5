"""Parameters and multiply-adds against every published figure that two sources agree on.

Sources: ICCV (the paper's tables), slim (the authors' TensorFlow code and README), deeplab
(the authors' segmentation code), tv (torchvision's weight metadata), timm (its results
table), d-li14 (mobilenetv3.pytorch), calc (counted by hand from Tables 1 and 2).
"""

from __future__ import annotations

from typing import Any

import pytest

from hswish.spec.architecture import MODEL_NAMES, resolve
from hswish.spec.budget import count_multiply_adds, count_parameters, layer_costs

# (size, options, parameters, multiply-adds in millions at 224, source)
CLASSIFIERS: list[tuple[str, dict[str, Any], int, float, str]] = [
    ("large", {}, 5_483_032, 216.59, "tv 5,483,032 / 0.217 G; timm 5.48M; d-li14 216.60; slim 217"),
    ("large", {"num_classes": 1001}, 5_484_313, 216.59, "slim"),
    ("large", {"width_mult": 0.75}, 3_993_528, 154.56, "timm 3.99M; d-li14 154.57; ICCV 4.0M / 155"),
    ("large_minimal", {}, 3_924_288, 209.14, "timm 3.92M; slim 3.9M / 209"),
    ("small", {}, 2_542_856, 56.51, "tv 2,542,856 / 0.057 G; timm 2.54M; d-li14 56.52"),
    ("small", {"head_channels": 1280}, 2_946_568, 56.91, "ICCV 2.9M"),
    ("small", {"num_classes": 1001}, 2_543_881, 56.51, "slim"),
    ("small", {"width_mult": 0.75}, 2_041_872, 43.40, "timm 2.04M; d-li14 43.40"),
    ("small_minimal", {}, 2_044_736, 52.29, "timm 2.04M; slim 2.0M"),
    ("large", {"reduced_tail": True}, 2_569_352, 182.30, "tv reduced_tail; MAdds calc"),
    ("small", {"reduced_tail": True}, 1_099_672, 43.76, "tv reduced_tail; MAdds calc"),
]

# Multipliers: parameters / MMAdds. The paper's rule keeps the post-pool layer; torchvision's scales it too.
WIDTHS: list[tuple[str, float, str, int, float]] = [
    ("large", 0.35, "tensorflow", 2_131_832, 39.47),  # ICCV appendix 2.2M / 40
    ("large", 0.50, "tensorflow", 2_689_520, 69.25),  # ICCV appendix 2.6M / 69
    ("large", 0.75, "tensorflow", 3_993_528, 154.56),  # ICCV appendix 4.0M / 155
    ("large", 1.00, "tensorflow", 5_483_032, 216.59),  # ICCV appendix 5.4M / 217
    ("large", 1.25, "tensorflow", 7_551_976, 355.22),  # ICCV appendix 7.5M / 356
    ("small", 0.35, "tensorflow", 1_358_288, 12.82),  # ICCV appendix 13 MMAdds
    ("small", 0.50, "tensorflow", 1_592_704, 21.05),  # timm 1.59M (with a 16-wide stem)
    ("small", 0.75, "tensorflow", 2_041_872, 43.40),  # ICCV appendix 44; timm 2.04M
    ("small", 1.00, "tensorflow", 2_542_856, 56.51),  # timm 2.54M
    ("small", 1.25, "tensorflow", 3_205_384, 90.80),  # ICCV appendix 91 MMAdds
    ("large", 0.35, "torchvision", 997_064, 35.28),  # tv code, calc
    ("large", 0.50, "torchvision", 1_734_576, 64.96),
    ("large", 0.75, "torchvision", 3_377_576, 140.03),
    ("large", 1.00, "torchvision", 5_483_032, 216.59),
    ("large", 1.25, "torchvision", 8_164_744, 343.46),
    ("small", 0.35, "torchvision", 558_744, 11.24),
    ("small", 0.50, "torchvision", 917_264, 18.97),
    ("small", 0.75, "torchvision", 1_653_920, 39.12),
    ("small", 1.00, "torchvision", 2_542_856, 56.51),
    ("small", 1.25, "torchvision", 3_644_912, 88.16),
]

# Width 1 at other resolutions, MMAdds (calc; ICCV appendix rounds to the same integers, Small 224 and 256 aside).
RESOLUTIONS = {
    "large": {96: 43.06, 128: 73.43, 160: 112.47, 192: 160.19, 224: 216.59, 256: 281.66},
    "small": {96: 12.07, 128: 19.85, 160: 29.85, 192: 42.07, 224: 56.51, 256: 73.18},
}

# LR-ASPP: (size, options, parameters, source)
SEGMENTATION: list[tuple[str, dict[str, Any], int, str]] = [
    ("large", {}, 1_507_198, "ICCV Table 7 row 8: 1.51M; calc 1.507M"),
    ("large", {"head_channels": 256}, 1_632_894, "ICCV Table 7 row 7: 1.63M; calc 1.633M"),
    ("small", {}, 468_830, "ICCV Table 7 row 11: 0.47M; calc 0.469M"),
    ("large", {"num_classes": 11}, 1_505_198, "calc, CamVid's 11 classes"),
    ("small", {"num_classes": 11}, 467_086, "calc, CamVid's 11 classes"),
    ("large", {"num_classes": 11, "reduced_tail": False}, 3_220_846, "calc 3.221M"),
    ("small", {"num_classes": 11, "reduced_tail": False}, 1_077_246, "calc 1.077M"),
]

# LR-ASPP multiply-adds in billions, convolutions only (calc from the official design, F = 128):
# (size, classes, reduced tail, (height, width), at output stride 16, at 32)
SEGMENTATION_MADDS = [
    ("large", 19, True, (1024, 2048), 9.37, 7.45),
    ("small", 19, True, (1024, 2048), 2.73, 1.92),
    ("large", 19, True, (1025, 2049), 9.53, 7.58),
    ("small", 19, True, (1025, 2049), 2.78, 1.96),
    ("large", 19, True, (512, 1024), 2.34, 1.86),
    ("small", 19, True, (512, 1024), 0.683, 0.481),
    ("large", 11, True, (360, 480), 0.778, 0.619),
    ("small", 11, True, (360, 480), 0.224, 0.157),
    ("large", 11, False, (360, 480), 1.323, 0.781),
    ("small", 11, False, (360, 480), 0.424, 0.213),
]

# ICCV Tables 7 and 8 at 1024x2048, billions: with resizes and pooling, so 2 to 8 % above ours.
PUBLISHED_MADDS = [("large", 16, 9.74), ("large", 32, 7.74), ("small", 16, 2.90), ("small", 32, 2.06)]


@pytest.mark.parametrize(("size", "options", "parameters", "mega_madds", "source"), CLASSIFIERS)
def test_classifiers(size: str, options: dict[str, Any], parameters: int, mega_madds: float, source: str) -> None:
    arch = resolve(f"mobilenet_v3_{size}", **options)
    assert count_parameters(arch) == parameters, source
    assert count_multiply_adds(arch, 224, 224) / 1e6 == pytest.approx(mega_madds, abs=0.006), source


@pytest.mark.parametrize(("size", "width", "rule", "parameters", "mega_madds"), WIDTHS)
def test_width_multipliers(size: str, width: float, rule: str, parameters: int, mega_madds: float) -> None:
    arch = resolve(f"mobilenet_v3_{size}", width_mult=width, width_rule=rule)
    assert count_parameters(arch) == parameters
    assert count_multiply_adds(arch, 224, 224) / 1e6 == pytest.approx(mega_madds, abs=0.006)


@pytest.mark.parametrize(("width", "millions"), [(0.35, 1.67), (0.5, 1.92), (0.75, 2.41), (1.0, 2.95), (1.25, 3.65)])
def test_small_with_the_printed_1280_head(width: float, millions: float) -> None:
    """The paper's appendix (1.7 / 1.9 / 2.4 / 2.9 / 3.6M) is reproduced only by a fixed 1280 head."""
    arch = resolve("mobilenet_v3_small", width_mult=width, head_channels=1280)
    assert count_parameters(arch) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_resolutions(size: str) -> None:
    arch = resolve(f"mobilenet_v3_{size}")
    for side, mega_madds in RESOLUTIONS[size].items():
        assert count_multiply_adds(arch, side, side) / 1e6 == pytest.approx(mega_madds, abs=0.006), side


@pytest.mark.parametrize(("size", "options", "parameters", "source"), SEGMENTATION)
def test_segmentation_parameters(size: str, options: dict[str, Any], parameters: int, source: str) -> None:
    assert count_parameters(resolve(f"lraspp_mobilenet_v3_{size}", **options)) == parameters, source


@pytest.mark.parametrize(("size", "classes", "reduced", "shape", "at_16", "at_32"), SEGMENTATION_MADDS)
def test_segmentation_multiply_adds(
    size: str, classes: int, reduced: bool, shape: tuple[int, int], at_16: float, at_32: float
) -> None:
    for output_stride, giga_madds in ((16, at_16), (32, at_32)):
        arch = resolve(
            f"lraspp_mobilenet_v3_{size}", num_classes=classes, reduced_tail=reduced, output_stride=output_stride
        )
        digit = 0.001 if giga_madds < 1 or shape == (360, 480) else 0.006  # as printed
        assert count_multiply_adds(arch, *shape) / 1e9 == pytest.approx(giga_madds, abs=digit)


@pytest.mark.parametrize(("size", "output_stride", "giga_madds"), PUBLISHED_MADDS)
def test_segmentation_is_near_the_papers_count(size: str, output_stride: int, giga_madds: float) -> None:
    arch = resolve(f"lraspp_mobilenet_v3_{size}", output_stride=output_stride)
    assert 1.02 < giga_madds / (count_multiply_adds(arch, 1024, 2048) / 1e9) < 1.08


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_whole_is_the_sum_of_the_layers(name: str) -> None:
    arch = resolve(name)
    layers = layer_costs(arch, 97, 161)
    assert count_parameters(arch) == sum(layer.parameters for layer in layers)
    assert count_multiply_adds(arch, 97, 161) == sum(layer.multiply_adds for layer in layers)
    assert len({layer.name for layer in layers}) == len(layers)


def test_layer_shapes_follow_the_table() -> None:
    """Odd sizes round up at each stride, as symmetric padding of odd kernels does."""
    layers = {layer.name: layer for layer in layer_costs(resolve("lraspp_mobilenet_v3_large"), 225, 97)}
    assert layers["backbone.stem"].output == (16, 113, 49)
    assert layers["backbone.blocks.1.depthwise"].output == (64, 57, 25)
    assert layers["backbone.last"].output == (480, 15, 7)
    assert layers["head.project_low"].output == (19, 29, 13)
    assert layers["head.gate"].output == (128, 1, 1)


def test_input_channels_cost_only_the_stem() -> None:
    grey, colour = resolve("mobilenet_v3_small", in_channels=1), resolve("mobilenet_v3_small")
    assert count_parameters(colour) - count_parameters(grey) == 2 * 9 * 16
