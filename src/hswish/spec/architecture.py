"""The networks of "Searching for MobileNetV3" as data: Tables 1 and 2, and LR-ASPP.

Everything that needs to know a layer is built from here: the torch modules
(`models/`), the parameter and multiply-add counts (`spec/budget.py`) and the docs.

    table (as printed)  --resolve(name, options)-->  Architecture (every channel count fixed)

Source: Howard et al., ICCV 2019 (arXiv 1905.02244), sections 5 and 6.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from hswish.spec.errors import OptionError, unknown_name

Activation = Literal["relu", "hard_swish"]
Task = Literal["classification", "segmentation"]

RE: Activation = "relu"
HS: Activation = "hard_swish"


# --------------------------------------------------------------------------------------
# The tables as printed
# --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bneck:
    """One `bneck` row of Table 1 or 2, at width 1."""

    kernel: int
    """side of the depthwise kernel"""
    expand: int
    """channels of the expanded tensor, "exp size" """
    out: int
    """channels of the block's output, "#out" """
    se: bool
    """squeeze-and-excitation after the depthwise convolution, "SE" """
    act: Activation
    """non-linearity of the expand and depthwise convolutions, "NL" """
    stride: int
    """stride of the depthwise convolution, "s" """


@dataclass(frozen=True, kw_only=True)
class Table:
    """A whole column of the paper: stem, rows, last stage."""

    stem: int
    """channels of the first 3x3 convolution, stride 2"""
    rows: tuple[Bneck, ...]
    last: int
    """channels of the last 1x1 convolution before the pooling"""
    hidden: int
    """channels of the 1x1 convolution after the pooling (no batch norm)"""
    act: Activation
    """non-linearity of the stem and of the last stage"""
    source: str


# fmt: off
LARGE = Table(source="Table 1", stem=16, last=960, hidden=1280, act=HS, rows=(  # input 224² x 3
    Bneck(kernel=3, expand=16,  out=16,  se=False, act=RE, stride=1),  # 112² x 16
    Bneck(kernel=3, expand=64,  out=24,  se=False, act=RE, stride=2),  # 112² x 16
    Bneck(kernel=3, expand=72,  out=24,  se=False, act=RE, stride=1),  # 56² x 24
    Bneck(kernel=5, expand=72,  out=40,  se=True,  act=RE, stride=2),  # 56² x 24
    Bneck(kernel=5, expand=120, out=40,  se=True,  act=RE, stride=1),  # 28² x 40
    Bneck(kernel=5, expand=120, out=40,  se=True,  act=RE, stride=1),  # 28² x 40
    Bneck(kernel=3, expand=240, out=80,  se=False, act=HS, stride=2),  # 28² x 40
    Bneck(kernel=3, expand=200, out=80,  se=False, act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=184, out=80,  se=False, act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=184, out=80,  se=False, act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=480, out=112, se=True,  act=HS, stride=1),  # 14² x 80
    Bneck(kernel=3, expand=672, out=112, se=True,  act=HS, stride=1),  # 14² x 112
    Bneck(kernel=5, expand=672, out=160, se=True,  act=HS, stride=2),  # 14² x 112
    Bneck(kernel=5, expand=960, out=160, se=True,  act=HS, stride=1),  # 7² x 160
    Bneck(kernel=5, expand=960, out=160, se=True,  act=HS, stride=1),  # 7² x 160
))

SMALL = Table(source="Table 2", stem=16, last=576, hidden=1024, act=HS, rows=(  # input 224² x 3
    Bneck(kernel=3, expand=16,  out=16, se=True,  act=RE, stride=2),   # 112² x 16
    Bneck(kernel=3, expand=72,  out=24, se=False, act=RE, stride=2),   # 56² x 16
    Bneck(kernel=3, expand=88,  out=24, se=False, act=RE, stride=1),   # 28² x 24
    Bneck(kernel=5, expand=96,  out=40, se=True,  act=HS, stride=2),   # 28² x 24
    Bneck(kernel=5, expand=240, out=40, se=True,  act=HS, stride=1),   # 14² x 40
    Bneck(kernel=5, expand=240, out=40, se=True,  act=HS, stride=1),   # 14² x 40
    Bneck(kernel=5, expand=120, out=48, se=True,  act=HS, stride=1),   # 14² x 40
    Bneck(kernel=5, expand=144, out=48, se=True,  act=HS, stride=1),   # 14² x 48
    Bneck(kernel=5, expand=288, out=96, se=True,  act=HS, stride=2),   # 14² x 48
    Bneck(kernel=5, expand=576, out=96, se=True,  act=HS, stride=1),   # 7² x 96
    Bneck(kernel=5, expand=576, out=96, se=True,  act=HS, stride=1),   # 7² x 96
))
# fmt: on


def minimalistic(table: Table) -> Table:
    """The "minimalistic" variant of the authors' code: 3x3 only, no SE, ReLU everywhere."""
    rows = tuple(replace(row, kernel=3, se=False, act=RE) for row in table.rows)
    return replace(table, rows=rows, act=RE, source=f"{table.source}, minimalistic")


TABLES: dict[str, Table] = {
    "mobilenet_v3_large": LARGE,
    "mobilenet_v3_small": SMALL,
    "mobilenet_v3_large_minimal": minimalistic(LARGE),
    "mobilenet_v3_small_minimal": minimalistic(SMALL),
}
LRASPP_PREFIX = "lraspp_"
MODEL_NAMES: tuple[str, ...] = (*TABLES, *(LRASPP_PREFIX + name for name in TABLES))


# --------------------------------------------------------------------------------------
# Options a user may set
# --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may vary in a named network; stored in every artifact.

    Raises:
        OptionError: a value is out of range.
    """

    num_classes: int = 1000
    """outputs of the classifier, or classes of the mask"""
    width_mult: float = 1.0
    """multiplier of the channel counts, > 0"""
    width_rule: Literal["tensorflow", "torchvision"] = "tensorflow"
    """how the multiplier is applied. tensorflow (the paper's): expansions follow the scaled
    input, the post-pool layer keeps its width. torchvision: every table entry is scaled."""
    dropout: float = 0.2
    """rate before the last layer"""
    output_stride: int = 32
    """input size over size of the deepest feature map: 32, 16 or 8, by dilation"""
    reduced_tail: bool = False
    """halve the last stage (section 6.4). Classifiers: torchvision's rule, the first tail
    expansion is kept; LR-ASPP: the official one, all three expansions are halved."""
    in_channels: int = 3
    """channels of the input picture"""
    head_channels: int | None = None
    """width of the head: post-pool layer (1280 Large, 1024 Small) or LR-ASPP's F (128)"""
    bn_eps: float = 1e-3
    """batch-norm epsilon (TensorFlow's value)"""
    bn_momentum: float = 0.01
    """batch-norm momentum in torch's sense: 1 - decay 0.99 (section 6.1.1)"""

    def __post_init__(self) -> None:
        _check(_is_int(self.num_classes) and self.num_classes >= 1, "num_classes must be 1 or more")
        _check(_is_number(self.width_mult) and 0 < self.width_mult <= 16, "width_mult: above 0, at most 16")
        _check(_is_number(self.dropout) and 0 <= self.dropout < 1, "dropout must be in [0, 1)")
        _check(_is_int(self.output_stride) and self.output_stride in (8, 16, 32), "output_stride must be 8, 16 or 32")
        for name in ("in_channels", "head_channels"):  # bounded, for a description comes from an untrusted file
            value = getattr(self, name)
            good = _is_int(value) and 1 <= value <= 65536
            _check(good or (value is None and name == "head_channels"), f"{name} must be 1 to 65536")
        _check(self.width_rule in ("tensorflow", "torchvision"), "width_rule: tensorflow or torchvision")
        _check(isinstance(self.reduced_tail, bool), "reduced_tail must be true or false")
        _check(_is_number(self.bn_eps) and 0 < self.bn_eps <= 1, "bn_eps: above 0, at most 1")
        _check(_is_number(self.bn_momentum) and 0 < self.bn_momentum <= 1, "bn_momentum: above 0, at most 1")


SEGMENTATION_DEFAULTS: dict[str, Any] = {
    "num_classes": 19,  # Cityscapes, as in the paper's tables
    "dropout": 0.0,
    "output_stride": 16,  # Table 7
    "reduced_tail": True,  # "RF2" in Table 7
    "head_channels": 128,  # "F" in Table 7
}


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def task_of(name: str) -> Task:
    """`segmentation` for the lraspp models, `classification` for the others."""
    return "segmentation" if name.startswith(LRASPP_PREFIX) else "classification"


def make_options(name: str, **options: Any) -> Options:
    """The options of model `name`: its defaults, then the keywords.

    Raises:
        OptionError: unknown model or option (the nearest names are offered), value out of range.
    """
    if name not in MODEL_NAMES:
        raise unknown_name("model", name, MODEL_NAMES)
    known = [field.name for field in fields(Options)]
    for key in options:
        if key not in known:
            raise unknown_name("option", key, known)
    if task_of(name) == "classification":
        return Options(**options)
    made = Options(**{**SEGMENTATION_DEFAULTS, **options})
    _check(made.num_classes <= 255, "num_classes of a mask: at most 255, one byte a pixel and 255 for not labelled")
    return made


# --------------------------------------------------------------------------------------
# The resolved network: every number fixed
# --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """An inverted residual with squeeze-and-excitation (Figure 4), resolved."""

    kernel: int
    stride: int
    dilation: int
    in_channels: int
    expand_channels: int
    out_channels: int
    se_channels: int
    """width of the squeeze; 0 means no squeeze-and-excitation"""
    act: Activation
    output_stride: int
    """input size over this block's output size"""

    @property
    def has_expand(self) -> bool:
        """The 1x1 expansion is left out where it would not widen (first row of both tables)."""
        return self.expand_channels != self.in_channels

    @property
    def has_residual(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Stem, blocks and the last 1x1 convolution, resolved."""

    in_channels: int
    stem_channels: int
    blocks: tuple[Block, ...]
    last_channels: int
    act: Activation


@dataclass(frozen=True, kw_only=True)
class ClassifierHead:
    """Efficient last stage (Figure 5): pool, 1x1 conv, activation, dropout, linear."""

    in_channels: int
    hidden_channels: int
    num_classes: int
    dropout: float
    act: Activation


@dataclass(frozen=True, kw_only=True)
class LRASPPHead:
    """Lite R-ASPP (Figure 10)."""

    high_channels: int
    """channels of the deepest map (the last 1x1 convolution's output)"""
    low_channels: int
    """channels of the 1/8 skip"""
    low_block: int
    """index of the block whose depthwise output (before SE) is the skip"""
    channels: int
    """F: width of the head"""
    num_classes: int
    dropout: float


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A whole network, every number fixed: what the torch modules and the budget are built from."""

    name: str
    task: Task
    options: Options
    backbone: Backbone
    head: ClassifierHead | LRASPPHead
    source: str

    def options_dict(self) -> dict[str, Any]:
        """The options as an artifact stores them; `resolve(name, **these)` gives this network again."""
        return asdict(self.options)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of `divisor`, never more than 10 % down.

    The rule of the MobileNet code bases: both terms of the paper's widths are multiples of 8.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def resolve(name: str, **options: Any) -> Architecture:
    """Fix every channel count, stride and dilation of model `name`.

    Raises:
        OptionError: unknown model or option, or a value out of range.
    """
    opts = make_options(name, **options)
    task = task_of(name)
    table = TABLES[name.removeprefix(LRASPP_PREFIX)]
    if opts.reduced_tail:
        table = _halve_tail(table, keep_first_expansion=task == "classification")
    backbone = _resolve_backbone(table, opts)
    head: ClassifierHead | LRASPPHead
    if task == "segmentation":
        low = _last_block_on_grid(table, 8)
        head = LRASPPHead(
            high_channels=backbone.last_channels,
            low_channels=backbone.blocks[low].expand_channels,
            low_block=low,
            channels=opts.head_channels or SEGMENTATION_DEFAULTS["head_channels"],
            num_classes=opts.num_classes,
            dropout=opts.dropout,
        )
    else:
        scaled = opts.width_rule == "torchvision"
        hidden = make_divisible(table.hidden * opts.width_mult) if scaled else table.hidden
        head = ClassifierHead(
            in_channels=backbone.last_channels,
            hidden_channels=opts.head_channels or hidden,
            num_classes=opts.num_classes,
            dropout=opts.dropout,
            act=table.act,
        )
    return Architecture(name=name, task=task, options=opts, backbone=backbone, head=head, source=table.source)


def _last_block_on_grid(table: Table, grid: int) -> int:
    """Index of the table's last row whose output is the input's size over `grid`."""
    stride, last = 2, -1  # the stem halves the input
    for index, row in enumerate(table.rows):
        stride *= row.stride
        if stride <= grid:
            last = index
    return last


def _halve_tail(table: Table, keep_first_expansion: bool) -> Table:
    """Halve the channels of the blocks at stride 32 and of the last stage (section 6.4)."""
    first = max(index for index, row in enumerate(table.rows) if row.stride == 2)
    rows = list(table.rows)
    for index in range(first, len(rows)):
        row = rows[index]
        keep = keep_first_expansion and index == first
        expand = row.expand if keep else row.expand // 2
        rows[index] = replace(row, expand=expand, out=row.out // 2)
    return replace(table, rows=tuple(rows), last=table.last // 2, hidden=table.hidden // 2)


def _resolve_backbone(table: Table, opts: Options) -> Backbone:
    width = opts.width_mult
    stem = make_divisible(table.stem * width)
    blocks = []
    table_in, in_channels = table.stem, stem
    grid, dilation = 2, 1
    for row in table.rows:
        if opts.width_rule == "tensorflow":
            expand = make_divisible(in_channels * (row.expand / table_in))
        else:
            expand = make_divisible(row.expand * width)
        stride, block_dilation = row.stride, dilation
        if grid * stride > opts.output_stride:
            # Atrous convolution: keep the grid, widen the kernels of the blocks that follow.
            dilation *= stride
            stride = 1
        grid *= stride
        out_channels = make_divisible(row.out * width)
        blocks.append(
            Block(
                kernel=row.kernel,
                stride=stride,
                dilation=block_dilation,
                in_channels=in_channels,
                expand_channels=expand,
                out_channels=out_channels,
                se_channels=make_divisible(expand / 4) if row.se else 0,
                act=row.act,
                output_stride=grid,
            )
        )
        table_in, in_channels = row.out, out_channels
    last = make_divisible(table.last * width) if opts.width_rule == "tensorflow" else 6 * in_channels
    return Backbone(
        in_channels=opts.in_channels, stem_channels=stem, blocks=tuple(blocks), last_channels=last, act=table.act
    )
