"""The counts derived from the description, against every published figure; see `budget_figures.py`."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hswish.spec.architecture import MODEL_NAMES, ClassifierHead, ConcatHead, LRASPPHead, resolve
from hswish.spec.budget import count_multiply_adds, count_parameters, layer_costs
from hswish.spec.published import Printed, PublishedRow, network_of
from tests.spec.budget_figures import ALLOWED, FIGURES, PUBLISHED, Figure, disagreement


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_figures_that_sources_agree_on(figure: Figure) -> None:
    arch = resolve(figure.model, **figure.options)
    if figure.parameters is not None:
        assert Printed(figure.parameters).of(count_parameters(arch)) == figure.parameters
    if figure.multiply_adds is not None:
        assert Printed(figure.multiply_adds).of(count_multiply_adds(arch, *figure.size_px)) == figure.multiply_adds


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.source}: {row.model} {row.options} {row.size_px}")
def test_published_rows(row: PublishedRow) -> None:
    arch = network_of(row)
    if row.parameters:
        assert not disagreement(row, "parameters", row.parameters, count_parameters(arch))
    if row.multiply_adds:
        assert not disagreement(row, "multiply_adds", row.multiply_adds, count_multiply_adds(arch, *row.size_px))


def test_every_allowance_is_needed() -> None:
    for allowed in ALLOWED:
        needed = False
        for row in PUBLISHED:
            printed = getattr(row, allowed.figure)
            if printed is None or not allowed.covers(row, allowed.figure):
                continue
            arch = network_of(row)
            counts = {"parameters": count_parameters(arch), "multiply_adds": count_multiply_adds(arch, *row.size_px)}
            needed |= printed.of(counts[allowed.figure]) != printed.text
        assert needed, allowed


@pytest.mark.parametrize(
    ("network", "reduced_tail", "millions", "billions"),
    [
        ("large", False, "4.97", "0.61"),  # Table 6 prints 0.62
        ("large", True, "3.22", "0.51"),
        ("small", False, "2.49", "0.21"),
        ("small", True, "1.77", "0.16"),
    ],
)
def test_backbones_of_table_6(network: str, reduced_tail: bool, millions: str, billions: str) -> None:
    """SSDLite at 320 x 320 on 91 classes, written out around our backbone: the halved tails are the detector's.

    Its layers as in the TensorFlow Object Detection API; Table 6 leaves out batch norm's parameters. C4 is
    the expansion of the first stride-32 block, C5 the last 1x1 convolution.
    """
    arch = resolve(f"mobilenet_v3_{network}", reduced_tail=reduced_tail)
    layers = [layer for layer in layer_costs(arch, 320, 320) if layer.name.startswith("backbone.")]
    normed = sum(layer.output[0] for layer in layers if ".se." not in layer.name)
    parameters = sum(layer.parameters for layer in layers) - 2 * normed
    multiply_adds = sum(layer.multiply_adds for layer in layers)

    c4 = next(block.expand_channels for block in reversed(arch.backbone.blocks) if block.stride == 2)
    c5 = arch.backbone.last_channels
    maps, before, cells = [(c4, 20, 3), (c5, 10, 6)], c5, 10  # channels, cells a side, boxes a cell
    for channels, smaller in ((512, 5), (256, 3), (256, 2), (128, 1)):  # 1x1 to half, depthwise 3x3, 1x1
        half = channels // 2
        parameters += before * half + 9 * half + half * channels
        multiply_adds += before * half * cells**2 + (9 * half + half * channels) * smaller**2
        maps.append((channels, smaller, 6))
        before, cells = channels, smaller
    for channels, cells, boxes in maps:
        for outputs in (91 * boxes, 4 * boxes):  # depthwise 3x3, then 1x1 with bias: class scores, coordinates
            parameters += 9 * channels + channels * outputs + outputs
            multiply_adds += (9 * channels + channels * outputs) * cells**2
    assert (f"{parameters / 1e6:.2f}", f"{multiply_adds / 1e9:.2f}") == (millions, billions)


# --- The parts -----------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("output_stride", "size_px", "grid"),
    [
        (16, (1025, 2049), (2, 5)),  # a 65 x 129 map: the authors' gate grids
        (32, (1025, 2049), (3, 9)),  # 33 x 65
        (16, (769, 769), (1, 1)),  # the training crop pools globally
        (32, (769, 769), (1, 1)),
        (16, (360, 480), (1, 1)),  # smaller than the window
    ],
)
def test_the_gate_is_computed_on_the_grid_of_the_pooling(
    output_stride: int, size_px: tuple[int, int], grid: tuple[int, int]
) -> None:
    arch = resolve("lraspp_mobilenet_v3_large", head="official", output_stride=output_stride)
    layers = {layer.name: layer for layer in layer_costs(arch, *size_px)}
    assert layers["head.gate"].output == (128, *grid)
    assert layers["head.gate"].multiply_adds == 480 * 128 * grid[0] * grid[1]


def test_readings_of_lite_raspp_cost_nearly_the_same() -> None:
    """The pooling and the gate are no budget; torchvision's skip is."""
    size_px = (1024, 2048)
    ours = resolve("lraspp_mobilenet_v3_large")
    official = resolve("lraspp_mobilenet_v3_large", head="official")
    assert count_parameters(ours) == count_parameters(official)
    extra = count_multiply_adds(official, *size_px) - count_multiply_adds(ours, *size_px)
    assert extra == 480 * 128 * (1 * 4 - 1)  # windows of 49 by (16, 20) on 64 x 128: 1 x 4
    seed = resolve("lraspp_mobilenet_v3_large", head="seed", reduced_tail=True)
    assert count_parameters(ours) - count_parameters(seed) == (120 - 40) * 19


def test_input_channels_cost_only_the_stem() -> None:
    grey, colour = resolve("mobilenet_v3_small", in_channels=1), resolve("mobilenet_v3_small")
    assert count_parameters(colour) - count_parameters(grey) == 2 * 9 * 16


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_multiply_adds_grow_with_the_area(name: str) -> None:
    """Four times the pixels cost four times as much, what follows a global pooling aside."""
    arch = resolve(name)

    def split(side: int) -> tuple[int, int]:
        layers = layer_costs(arch, side, side)
        pooled = sum(layer.multiply_adds for layer in layers if layer.output[1:] == (1, 1))
        return sum(layer.multiply_adds for layer in layers) - pooled, pooled

    (small, small_pooled), (large, large_pooled) = split(256), split(512)
    assert (Fraction(large, small), large_pooled) == (4, small_pooled)


@pytest.mark.parametrize("head", ["lraspp", "official", "seed", "torchvision", "fastseg", "raspp"])
def test_every_head_is_counted(head: str) -> None:
    arch = resolve("lraspp_mobilenet_v3_small", head=head, num_classes=7)
    layers = [layer for layer in layer_costs(arch, 64, 96) if layer.name.startswith("head.")]
    assert not isinstance(arch.head, ClassifierHead)
    scores = [layer for layer in layers if layer.output[0] == 7]
    assert len(scores) == (2 if isinstance(arch.head, LRASPPHead) else 1)
    grid = {LRASPPHead: 8, ConcatHead: 2}.get(type(arch.head), 16)
    assert all(layer.output[1:] == (64 // grid, 96 // grid) for layer in scores)
