"""How other code bases read the paper, as options: each against what its code builds.

Sources: TensorFlow slim and DeepLab, torchvision 0.29, timm 1.0.31, Keras 3.15, fastseg 0.1.2. Widths are
those of the networks that these libraries themselves make.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hswish.spec.architecture import (
    MODEL_NAMES,
    TABLES,
    Architecture,
    ClassifierHead,
    make_divisible,
    make_options,
    resolve,
)
from hswish.spec.errors import OptionError

RULES = ["tensorflow", "torchvision", "timm", "keras"]


def widths(arch: Architecture) -> list[tuple[int, int, int]]:
    """(expansion, squeeze width, output) of every block."""
    return [(block.expand_channels, block.se_channels, block.out_channels) for block in arch.backbone.blocks]


def hidden(arch: Architecture) -> int:
    assert isinstance(arch.head, ClassifierHead)
    return arch.head.hidden_channels


# --- Width rules ---------------------------------------------------------------------------

# timm's mobilenetv3_small_050: the 1024 stay, the stem keeps 16, expansions follow the scaled input
TIMM_SMALL_050 = [
    (16, 8, 8),
    (40, 0, 16),
    (56, 0, 16),
    (64, 16, 24),
    (144, 40, 24),
    (144, 40, 24),
    (72, 24, 24),
    (72, 24, 24),
    (144, 40, 48),
    (288, 72, 48),
    (288, 72, 48),
]
# timm's tf_mobilenetv3_large_075, so TensorFlow's released network
TF_LARGE_075 = [
    (16, 0, 16),
    (64, 0, 24),
    (72, 0, 24),
    (72, 24, 32),
    (96, 24, 32),
    (96, 24, 32),
    (192, 0, 64),
    (160, 0, 64),
    (144, 0, 64),  # 64 x 184/80 = 147; torchvision has 184 x 0.75 = 138: 136
    (144, 0, 64),
    (384, 96, 88),
    (528, 136, 88),
    (528, 136, 120),
    (720, 184, 120),
    (720, 184, 120),
]


def test_timm_at_half_width() -> None:
    arch = resolve("mobilenet_v3_small", width_mult=0.5, width_rule="timm")
    assert widths(arch) == TIMM_SMALL_050
    assert (arch.backbone.stem_channels, arch.backbone.last_channels, hidden(arch)) == (16, 288, 1024)
    paper = resolve("mobilenet_v3_small", width_mult=0.5)
    assert (paper.backbone.stem_channels, paper.backbone.blocks[0].expand_channels) == (8, 8)
    assert widths(paper)[1:] == TIMM_SMALL_050[1:]


@pytest.mark.parametrize("rule", ["tensorflow", "timm", "keras"])
def test_three_rules_agree_on_the_released_three_quarters(rule: str) -> None:
    arch = resolve("mobilenet_v3_large", width_mult=0.75, width_rule=rule)
    assert widths(arch) == TF_LARGE_075
    assert (arch.backbone.stem_channels, arch.backbone.last_channels, hidden(arch)) == (16, 720, 1280)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.25, 1.5])
def test_torchvision_scales_every_entry(name: str, width: float) -> None:
    arch, table = resolve(name, width_mult=width, width_rule="torchvision"), TABLES[name]
    scaled = [(make_divisible(row.expand * width), make_divisible(row.out * width)) for row in table.rows]
    assert [(expand, out) for expand, _, out in widths(arch)] == scaled
    assert arch.backbone.stem_channels == make_divisible(16 * width)
    assert arch.backbone.last_channels == 6 * scaled[-1][1]
    assert hidden(arch) == make_divisible(table.hidden * width)


@pytest.mark.parametrize(
    ("rule", "width", "stem", "last", "post_pool"),
    [
        ("tensorflow", 0.35, 8, 200, 1024),
        ("timm", 0.35, 16, 200, 1024),
        ("keras", 0.35, 16, 192, 1024),  # 6 x 32
        ("torchvision", 0.35, 8, 192, 360),
        ("tensorflow", 1.25, 24, 720, 1024),  # 20 is rounded to 24, so that less than 10 % is lost
        ("timm", 1.25, 24, 720, 1024),
        ("keras", 1.25, 16, 720, 1280),  # the only post-pool layer that grows and never shrinks
        ("torchvision", 1.25, 24, 720, 1280),
    ],
)
def test_what_the_rules_do_to_stem_and_last_stage(
    rule: str, width: float, stem: int, last: int, post_pool: int
) -> None:
    arch = resolve("mobilenet_v3_small", width_mult=width, width_rule=rule)
    assert (arch.backbone.stem_channels, arch.backbone.last_channels, hidden(arch)) == (stem, last, post_pool)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_rules_are_one_at_width_one(name: str) -> None:
    networks = [resolve(name, width_rule=rule) for rule in RULES]
    assert all(network.backbone == networks[0].backbone for network in networks)
    assert all(network.head == networks[0].head for network in networks)


@given(st.sampled_from(RULES), st.floats(0.05, 3), st.sampled_from(MODEL_NAMES))
def test_a_given_head_width_is_kept(rule: str, width: float, name: str) -> None:
    head = resolve(name, width_mult=width, width_rule=rule, head_channels=40).head
    assert (head.hidden_channels if isinstance(head, ClassifierHead) else head.channels) == 40


# --- Depth ---------------------------------------------------------------------------------

# timm's mobilenetv3_large_150d: (stage, kernel, expansion, squeeze width, output), width 1.5, depth 1.2
TIMM_150D = [
    *[(0, 3, 24, 0, 24)] * 2,
    (1, 3, 96, 0, 40),
    *[(1, 3, 120, 0, 40)] * 2,
    (2, 5, 120, 32, 64),
    *[(2, 5, 192, 48, 64)] * 3,
    (3, 3, 384, 0, 120),
    *[(3, 3, 304, 0, 120)] * 2,
    *[(3, 3, 280, 0, 120)] * 2,
    (4, 3, 720, 184, 168),
    *[(4, 3, 1008, 256, 168)] * 2,
    (5, 5, 1008, 256, 240),
    *[(5, 5, 1440, 360, 240)] * 3,
]


def test_depth_multiplier_makes_timms_150d() -> None:
    arch = resolve("mobilenet_v3_large", width_mult=1.5, depth_mult=1.2, width_rule="timm")
    blocks = arch.backbone.blocks
    assert [(block.stage, block.kernel, *row) for block, row in zip(blocks, widths(arch), strict=True)] == TIMM_150D
    assert [index for index, block in enumerate(blocks) if block.stride == 2] == [2, 5, 9, 17]
    assert (arch.backbone.stem_channels, arch.backbone.last_channels, hidden(arch)) == (24, 1440, 1280)
    assert arch.backbone.last_convs == 2


@pytest.mark.parametrize(
    ("size", "stages"), [("large", [1, 2, 3, 4, 2, 3]), ("small", [1, 2, 3, 2, 3])], ids=["large", "small"]
)
def test_stages_are_timms(size: str, stages: list[int]) -> None:
    blocks = resolve(f"mobilenet_v3_{size}").backbone.blocks
    assert [len(list(members)) for _, members in groupby(block.stage for block in blocks)] == stages
    assert [block.stage for block in blocks] == sorted(block.stage for block in blocks)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_depth_of_one_changes_nothing(name: str) -> None:
    assert resolve(name, depth_mult=1).backbone == resolve(name).backbone


@given(st.sampled_from(MODEL_NAMES), st.floats(1, 4))
def test_deeper_networks_keep_widths_and_grids(name: str, depth: float) -> None:
    plain, deep = resolve(name), resolve(name, depth_mult=depth)
    strides = [block.output_stride for block in deep.backbone.blocks]
    assert strides == sorted(strides)
    assert strides[-1] == plain.backbone.blocks[-1].output_stride
    for stage in {block.stage for block in plain.backbone.blocks}:
        before = [block for block in plain.backbone.blocks if block.stage == stage]
        after = [block for block in deep.backbone.blocks if block.stage == stage]
        assert len(after) >= len(before)
        assert {block.out_channels for block in after} == {block.out_channels for block in before}
        assert after[0] == before[0]


# --- Halved tails --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
@pytest.mark.parametrize(("tail", "expansions"), [("detection", [672, 480, 480]), ("segmentation", [336, 480, 480])])
def test_the_tail_can_be_chosen_for_either_task(name: str, tail: str, expansions: list[int]) -> None:
    blocks = resolve(name, reduced_tail=True, tail=tail).backbone.blocks
    assert [block.expand_channels for block in blocks[-3:]] == expansions
    assert [block.out_channels for block in blocks[-3:]] == [80, 80, 80]


def test_a_halved_tail_halves_the_post_pool_layer() -> None:
    """torchvision's `reduced_tail`: 1280 and 1024 become 640 and 512."""
    assert hidden(resolve("mobilenet_v3_large", reduced_tail=True)) == 640
    assert hidden(resolve("mobilenet_v3_small", reduced_tail=True)) == 512


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_tail_without_reduced_tail_is_none(name: str) -> None:
    plain = resolve(name, reduced_tail=False)
    assert resolve(name, reduced_tail=False, tail="detection").backbone == plain.backbone


# --- Atrous convolution --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "output_stride", "dilations"),
    [
        ("large", 16, [1] * 12 + [2] * 3),  # torchvision's `dilated`: the last three blocks
        ("small", 16, [1] * 8 + [2] * 3),
        ("large", 8, [1] * 6 + [2] * 6 + [4] * 3),  # fastseg
        ("small", 8, [1] * 3 + [2] * 5 + [4] * 3),
        ("large", 32, [1] * 15),
    ],
)
def test_torchvision_dilates_the_block_that_lost_its_stride(
    size: str, output_stride: int, dilations: list[int]
) -> None:
    name = f"mobilenet_v3_{size}"
    blocks = resolve(name, atrous_rule="torchvision", output_stride=output_stride).backbone.blocks
    assert [block.dilation for block in blocks] == dilations
    full, official = resolve(name).backbone.blocks, resolve(name, output_stride=output_stride).backbone.blocks
    for block, other, plain in zip(blocks, official, full, strict=True):
        assert (block.stride, block.output_stride) == (other.stride, other.output_stride)
        lost_its_stride = plain.stride == 2 and block.stride == 1
        assert not (lost_its_stride and block.has_residual)
        if not lost_its_stride:
            assert block == other


def test_a_residual_where_the_lost_stride_would_allow_one() -> None:
    """Width 0.1 gives block 4 of Small 8 channels in and out: slim adds its input, torchvision does not."""
    options: dict[str, Any] = {"width_mult": 0.1, "output_stride": 8}
    paper = resolve("mobilenet_v3_small", **options).backbone.blocks[3]
    other = resolve("mobilenet_v3_small", atrous_rule="torchvision", **options).backbone.blocks[3]
    assert (paper.in_channels, paper.out_channels, paper.stride, paper.has_residual) == (8, 8, 1, True)
    assert (other.stride, other.has_residual) == (1, False)


# --- Blocks and padding --------------------------------------------------------------------


def test_timm_rw() -> None:
    """`mobilenetv3_rw`: squeeze widths of a quarter, not rounded to 8; no first residual; no bias after the pooling."""
    arch = resolve("mobilenet_v3_large", block_rule="timm_rw")
    plain = resolve("mobilenet_v3_large")
    squeezes = [block.se_channels for block in arch.backbone.blocks if block.se_channels]
    assert squeezes == [18, 30, 30, 120, 168, 168, 240, 240]
    assert [block.se_channels for block in plain.backbone.blocks if block.se_channels][:3] == [24, 32, 32]
    assert not arch.backbone.blocks[0].has_residual
    assert plain.backbone.blocks[0].has_residual
    assert all(block.se_act == block.act for block in arch.backbone.blocks if block.se_channels)
    assert all(block.se_act == "relu" for block in plain.backbone.blocks)
    assert isinstance(arch.head, ClassifierHead)
    assert not arch.head.hidden_bias
    assert widths(arch)[6:] == widths(plain)[6:]


def test_squeeze_and_excitation_before_the_activation() -> None:
    """d-li14 puts it between batch norm and non-linearity, but not in the first block, which has no expansion."""
    for size in ("large", "small"):
        plain = resolve(f"mobilenet_v3_{size}").backbone.blocks
        blocks = resolve(f"mobilenet_v3_{size}", block_rule="se_before_activation").backbone.blocks
        assert [block.se_first for block in blocks] == [
            bool(block.se_channels) and number > 0 for number, block in enumerate(plain)
        ]
        assert tuple(replace(block, se_first=False) for block in blocks) == plain


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_padding_changes_no_width(name: str) -> None:
    same, symmetric = resolve(name, padding="same"), resolve(name)
    assert (same.backbone, same.head) == (symmetric.backbone, symmetric.head)
    assert (same.options.padding, symmetric.options.padding) == ("same", "symmetric")


@pytest.mark.parametrize(("keep", "strides"), [(0, [2, 4, 8, 16, 32]), (1, [1, 2, 4, 8, 16]), (2, [1, 1, 2, 4, 8])])
def test_keep_size_drops_the_first_strides(keep: int, strides: list[int]) -> None:
    net = resolve("mobilenet_v3_small", keep_size=keep).backbone
    found = [net.stem_stride]
    found += [block.output_stride for block in net.blocks if block.output_stride != found[-1] or block.stride == 2]
    assert sorted({*found}) == sorted({*strides})
    assert net.blocks[-1].output_stride == strides[-1]
    assert widths(resolve("mobilenet_v3_small", keep_size=keep)) == widths(resolve("mobilenet_v3_small"))


# --- Mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("width_rule", "slim", "width_rule: tensorflow, torchvision, timm, keras"),
        ("block_rule", "mobilenet_v2", "block_rule: paper, se_before_activation, timm_rw"),
        ("padding", "valid", "padding: symmetric, same"),
        ("atrous_rule", "mmseg", "atrous_rule: tensorflow, torchvision"),
        ("tail", "half", "tail: detection, segmentation"),
        ("depth_mult", 0.5, "depth_mult: 1 to 8"),
        ("keep_size", 6, "keep_size must be 0 to 5"),
        ("head", "torchvison", "did you mean torchvision"),
    ],
)
def test_unknown_readings_list_the_known_ones(key: str, value: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make_options("lraspp_mobilenet_v3_small", **{key: value})


def test_a_classifier_has_no_segmentation_head() -> None:
    with pytest.raises(OptionError, match="head: only the lraspp_ models"):
        make_options("mobilenet_v3_small", head="lraspp")
