"""The tables against the paper's structure, row by row (facts: sections 5 and 6 of arXiv 1905.02244)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hswish.spec.architecture import (
    LARGE,
    MODEL_NAMES,
    SMALL,
    TABLES,
    ClassifierHead,
    LRASPPHead,
    Options,
    Skip,
    make_divisible,
    make_options,
    resolve,
    task_of,
)
from hswish.spec.errors import OptionError

# (output size at 224, in, kernel, expansion, out, SE squeeze width, activation, stride, residual) for each row
LARGE_ROWS = [
    (112, 16, 3, 16, 16, 0, "relu", 1, True),
    (56, 16, 3, 64, 24, 0, "relu", 2, False),
    (56, 24, 3, 72, 24, 0, "relu", 1, True),
    (28, 24, 5, 72, 40, 24, "relu", 2, False),
    (28, 40, 5, 120, 40, 32, "relu", 1, True),
    (28, 40, 5, 120, 40, 32, "relu", 1, True),
    (14, 40, 3, 240, 80, 0, "hard_swish", 2, False),
    (14, 80, 3, 200, 80, 0, "hard_swish", 1, True),
    (14, 80, 3, 184, 80, 0, "hard_swish", 1, True),
    (14, 80, 3, 184, 80, 0, "hard_swish", 1, True),
    (14, 80, 3, 480, 112, 120, "hard_swish", 1, False),
    (14, 112, 3, 672, 112, 168, "hard_swish", 1, True),
    (7, 112, 5, 672, 160, 168, "hard_swish", 2, False),
    (7, 160, 5, 960, 160, 240, "hard_swish", 1, True),
    (7, 160, 5, 960, 160, 240, "hard_swish", 1, True),
]
SMALL_ROWS = [
    (56, 16, 3, 16, 16, 8, "relu", 2, False),
    (28, 16, 3, 72, 24, 0, "relu", 2, False),
    (28, 24, 3, 88, 24, 0, "relu", 1, True),
    (14, 24, 5, 96, 40, 24, "hard_swish", 2, False),
    (14, 40, 5, 240, 40, 64, "hard_swish", 1, True),
    (14, 40, 5, 240, 40, 64, "hard_swish", 1, True),
    (14, 40, 5, 120, 48, 32, "hard_swish", 1, False),
    (14, 48, 5, 144, 48, 40, "hard_swish", 1, True),
    (7, 48, 5, 288, 96, 72, "hard_swish", 2, False),
    (7, 96, 5, 576, 96, 144, "hard_swish", 1, True),
    (7, 96, 5, 576, 96, 144, "hard_swish", 1, True),
]


@pytest.mark.parametrize(("size", "rows"), [("large", LARGE_ROWS), ("small", SMALL_ROWS)])
def test_every_block_is_the_papers_row(size: str, rows: list[tuple[object, ...]]) -> None:
    arch = resolve(f"mobilenet_v3_{size}")
    found = [
        (
            224 // block.output_stride,
            block.in_channels,
            block.kernel,
            block.expand_channels,
            block.out_channels,
            block.se_channels,
            block.act,
            block.stride,
            block.has_residual,
        )
        for block in arch.backbone.blocks
    ]
    assert found == rows
    assert all(block.dilation == 1 for block in arch.backbone.blocks)


@pytest.mark.parametrize("size", ["large", "small"])
def test_only_the_first_block_has_no_expansion(size: str) -> None:
    blocks = resolve(f"mobilenet_v3_{size}").backbone.blocks
    assert [block.has_expand for block in blocks] == [False] + [True] * (len(blocks) - 1)


@pytest.mark.parametrize(("size", "last", "hidden"), [("large", 960, 1280), ("small", 576, 1024)])
def test_stem_and_last_stage(size: str, last: int, hidden: int) -> None:
    arch = resolve(f"mobilenet_v3_{size}")
    assert isinstance(arch.head, ClassifierHead)
    assert (arch.backbone.stem_channels, arch.backbone.last_channels) == (16, last)
    assert (arch.head.in_channels, arch.head.hidden_channels, arch.head.num_classes) == (last, hidden, 1000)
    assert (arch.head.act, arch.head.dropout) == ("hard_swish", 0.2)


@pytest.mark.parametrize("size", ["large", "small"])
def test_minimalistic_keeps_the_widths(size: str) -> None:
    plain, minimal = resolve(f"mobilenet_v3_{size}"), resolve(f"mobilenet_v3_{size}_minimal")
    simplified = [replace(block, kernel=3, se_channels=0, act="relu") for block in plain.backbone.blocks]
    assert list(minimal.backbone.blocks) == simplified
    assert isinstance(minimal.head, ClassifierHead)
    assert minimal.backbone.act == minimal.head.act == "relu"


def _make_divisible_as_defined(v: float, d: int = 8) -> int:
    """The authors' code, term by term: nearest multiple of d, at least d, at most 10 % down."""
    nearest = max(d, int(v + d / 2) // d * d)
    if nearest < 0.9 * v:
        nearest += d
    return nearest


@given(st.floats(0.01, 1e5), st.sampled_from([1, 4, 8, 16]))
def test_make_divisible(value: float, divisor: int) -> None:
    made = make_divisible(value, divisor)
    assert made == _make_divisible_as_defined(value, divisor)
    assert made % divisor == 0
    assert made >= max(divisor, math.floor(0.9 * value))
    assert made - value <= divisor


@pytest.mark.parametrize(
    ("value", "made"), [(1, 8), (11.9, 16), (12, 16), (18, 24), (19.9, 24), (20, 24), (30, 32), (60, 64), (36, 40)]
)
def test_make_divisible_by_hand(value: float, made: int) -> None:
    assert make_divisible(value) == made  # 18 -> 16 would lose 11 %, hence 24


# --- Output stride -------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "first"), [("large", 12), ("small", 8)])
def test_output_stride_16_dilates_what_follows(size: str, first: int) -> None:
    """The official code: the last strided block keeps dilation 1, its followers take 2."""
    blocks = resolve(f"mobilenet_v3_{size}", output_stride=16).backbone.blocks
    assert (blocks[first].stride, blocks[first].dilation) == (1, 1)
    assert [block.dilation for block in blocks[:first]] == [1] * first
    assert [block.dilation for block in blocks[first + 1 :]] == [2, 2]
    assert blocks[-1].output_stride == 16


@pytest.mark.parametrize(("size", "middle", "first"), [("large", 6, 12), ("small", 3, 8)])
def test_output_stride_8_dilates_twice(size: str, middle: int, first: int) -> None:
    blocks = resolve(f"mobilenet_v3_{size}", output_stride=8).backbone.blocks
    expected = [1] * (middle + 1) + [2] * (first - middle) + [4] * (len(blocks) - first - 1)
    assert [block.dilation for block in blocks] == expected
    assert blocks[-1].output_stride == 8


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_output_stride_changes_no_width(name: str, output_stride: int) -> None:
    plain, dilated = resolve(name, output_stride=32), resolve(name, output_stride=output_stride)
    for one, other in zip(plain.backbone.blocks, dilated.backbone.blocks, strict=True):
        assert (one.in_channels, one.expand_channels, one.out_channels, one.se_channels) == (
            other.in_channels,
            other.expand_channels,
            other.out_channels,
            other.se_channels,
        )
    stride = 2 * math.prod(block.stride for block in dilated.backbone.blocks)
    assert stride == output_stride


# --- Halved tails (section 6.4) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first_expansion", "others", "out", "last"),
    [
        ("mobilenet_v3_large", 672, 480, 80, 480),  # detection style, torchvision's reduced_tail
        ("mobilenet_v3_small", 288, 288, 48, 288),
        ("lraspp_mobilenet_v3_large", 336, 480, 80, 480),  # segmentation style, the authors' DeepLab code
        ("lraspp_mobilenet_v3_small", 144, 288, 48, 288),
    ],
)
def test_reduced_tail(name: str, first_expansion: int, others: int, out: int, last: int) -> None:
    net = resolve(name, reduced_tail=True).backbone
    assert [block.expand_channels for block in net.blocks[-3:]] == [first_expansion, others, others]
    assert [block.out_channels for block in net.blocks[-3:]] == [out] * 3
    assert net.last_channels == last
    full = resolve(name, reduced_tail=False).backbone
    assert net.blocks[:-3] == full.blocks[:-3]


# --- LR-ASPP -------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "block", "channels"), [("large", 5, 120), ("small", 2, 88)])
def test_the_skip_is_the_last_block_at_an_eighth(size: str, block: int, channels: int) -> None:
    """DeepLab's feature extractor: `layer_7/depthwise_output` (Large), `layer_4/depthwise_output` (Small)."""
    for output_stride in (8, 16, 32):
        arch = resolve(f"lraspp_mobilenet_v3_{size}", output_stride=output_stride)
        assert isinstance(arch.head, LRASPPHead)
        assert arch.head.skip == Skip(tap=f"blocks.{block}.depthwise", channels=channels)
        assert arch.backbone.blocks[block].output_stride == 8
        assert arch.head.high_channels == arch.backbone.last_channels


def test_segmentation_defaults_are_table_7s_last_rows() -> None:
    options = make_options("lraspp_mobilenet_v3_large")
    assert (options.num_classes, options.output_stride, options.head_channels) == (19, 16, 128)
    assert options.reduced_tail


def test_names_are_torchvisions() -> None:
    assert MODEL_NAMES == (
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "mobilenet_v3_large_minimal",
        "mobilenet_v3_small_minimal",
        "lraspp_mobilenet_v3_large",
        "lraspp_mobilenet_v3_small",
        "lraspp_mobilenet_v3_large_minimal",
        "lraspp_mobilenet_v3_small_minimal",
    )
    assert task_of("lraspp_mobilenet_v3_small") == "segmentation"
    assert task_of("mobilenet_v3_small") == "classification"
    assert (TABLES["mobilenet_v3_large"], TABLES["mobilenet_v3_small"]) == (LARGE, SMALL)


# --- Options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_classes", 0),
        ("num_classes", -1),
        ("num_classes", 10.0),
        ("num_classes", True),
        ("num_classes", "10"),
        ("num_classes", None),
        ("width_mult", 0),
        ("width_mult", -0.5),
        ("width_mult", 17),
        ("width_mult", math.nan),
        ("width_mult", math.inf),
        ("width_mult", "1.0"),
        ("width_rule", "caffe"),
        ("width_rule", []),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", math.nan),
        ("output_stride", 4),
        ("output_stride", 64),
        ("output_stride", 16.0),
        ("output_stride", "16"),
        ("reduced_tail", 1),
        ("reduced_tail", "yes"),
        ("in_channels", 0),
        ("in_channels", 2.5),
        ("in_channels", None),
        ("in_channels", 10**9),
        ("head_channels", 0),
        ("head_channels", 10**9),
        ("head_channels", "128"),
        ("bn_eps", 0),
        ("bn_eps", math.inf),
        ("bn_eps", math.nan),
        ("bn_eps", 10**400),
        ("bn_momentum", 0),
        ("bn_momentum", 1.5),
        ("bn_momentum", math.nan),
    ],
)
def test_values_out_of_range_name_the_option(key: str, value: object) -> None:
    with pytest.raises(OptionError, match=key):
        make_options("mobilenet_v3_small", **{key: value})


def test_a_mask_holds_255_classes_at_most() -> None:
    assert make_options("lraspp_mobilenet_v3_small", num_classes=255).num_classes == 255
    with pytest.raises(OptionError, match="num_classes"):
        make_options("lraspp_mobilenet_v3_small", num_classes=256)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("mobilenet_v3_larg", "mobilenet_v3_large"),
        ("mobilenetv3_small", "mobilenet_v3_small"),
        ("lraspp_mobilenet_v3_smal", "lraspp_mobilenet_v3_small"),
        ("resnet50", "mobilenet_v3_small"),  # nothing near: all are listed
    ],
)
def test_unknown_model_offers_names(name: str, offered: str) -> None:
    with pytest.raises(OptionError, match=offered):
        resolve(name)


@pytest.mark.parametrize(
    ("key", "offered"), [("width", "width_mult"), ("num_clases", "num_classes"), ("outputstride", "output_stride")]
)
def test_unknown_option_offers_names(key: str, offered: str) -> None:
    with pytest.raises(OptionError, match=f"did you mean .*{offered}"):
        resolve("mobilenet_v3_small", **{key: 1})


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_options_come_back_from_their_dict(name: str) -> None:
    arch = resolve(name, width_mult=0.5, num_classes=7)
    assert resolve(name, **arch.options_dict()) == arch
    assert isinstance(arch.options, Options)


@given(
    st.sampled_from(MODEL_NAMES),
    st.floats(0.05, 4),
    st.sampled_from(["tensorflow", "torchvision"]),
    st.sampled_from([8, 16, 32]),
    st.booleans(),
)
def test_every_combination_resolves(name: str, width: float, rule: str, stride: int, reduced: bool) -> None:
    arch = resolve(name, width_mult=width, width_rule=rule, output_stride=stride, reduced_tail=reduced)
    channels = arch.backbone.stem_channels
    for block in arch.backbone.blocks:
        assert block.in_channels == channels
        assert block.expand_channels % 8 == block.out_channels % 8 == block.se_channels % 8 == 0
        assert min(block.expand_channels, block.out_channels) >= 8
        channels = block.out_channels
    assert arch.backbone.blocks[-1].output_stride == stride
