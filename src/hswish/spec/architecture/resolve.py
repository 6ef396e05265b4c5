"""From a name and options to a network with every number fixed."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from itertools import accumulate, groupby
from typing import Any

from hswish.spec.architecture.options import LRASPP_PREFIX, Options, make_options, task_of
from hswish.spec.architecture.resolved import (
    Architecture,
    Backbone,
    Block,
    ClassifierHead,
    ConcatHead,
    LRASPPHead,
    RASPPHead,
    SegmentationHead,
    Skip,
)
from hswish.spec.architecture.segmentation import HEADS, OFFICIAL_POOLING, Head, Pooling
from hswish.spec.architecture.tables import TABLES, Bneck, Table


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
    if opts.depth_mult != 1:
        table = _deepen(table, opts.depth_mult)
    if opts.reduced_tail:
        table = _halve_tail(table, opts.tail or ("segmentation" if task == "segmentation" else "detection"))
    stem_stride = 2
    if opts.keep_size:
        stem_stride = 1
        table = _keep_size(table, opts.keep_size - 1)
    backbone = _resolve_backbone(table, opts, stem_stride)
    head = _segmentation_head(table, backbone, opts) if task == "segmentation" else _classifier(table, backbone, opts)
    source = table.source if opts.head is None else f"{table.source}; head: {HEADS[opts.head].source}"
    return Architecture(name=name, task=task, options=opts, backbone=backbone, head=head, source=source)


# --- The tables, changed -------------------------------------------------------------------


def _halve_tail(table: Table, kind: str) -> Table:
    """Halve the channels of the blocks at stride 32 and of the last stage (section 6.4)."""
    first = max(index for index, row in enumerate(table.rows) if row.stride == 2)
    rows = list(table.rows)
    for index in range(first, len(rows)):
        row = rows[index]
        keep = kind == "detection" and index == first
        rows[index] = replace(row, expand=row.expand if keep else row.expand // 2, out=row.out // 2)
    return replace(table, rows=tuple(rows), last=table.last // 2, hidden=table.hidden // 2)


def _deepen(table: Table, depth_mult: float) -> Table:
    """Repeat blocks: each stage has ceil(depth_mult x blocks), the additions shared out from its end.

    A stage is a run of blocks of one output width; within it, blocks of one kind (kernel, ratio)
    share their repeats in proportion (timm's rule, as EfficientNet's compound scaling).
    """
    widths = [table.stem] + [row.out for row in table.rows[:-1]]
    ratios = [row.expand / width for row, width in zip(table.rows, widths, strict=True)]
    rows: list[Bneck] = []
    for _, members in groupby(zip(table.rows, ratios, strict=True), key=lambda member: member[0].out):
        stage = list(members)
        kinds = [list(kind) for _, kind in groupby(stage, key=lambda member: (member[0].kernel, member[1]))]
        left, wanted = len(stage), math.ceil(len(stage) * depth_mult)
        counts: list[int] = []
        for kind in reversed(kinds):
            count = max(1, round(len(kind) / left * wanted))
            counts.insert(0, count)
            left, wanted = left - len(kind), wanted - count
        for kind, count in zip(kinds, counts, strict=True):
            row, ratio = kind[0]
            again = replace(row, stride=1, expand=round(ratio * row.out))
            rows += [row] + [again] * (count - 1)
    return replace(table, rows=tuple(rows))


def _keep_size(table: Table, count: int) -> Table:
    """The first `count` rows of stride 2 get stride 1."""
    strided = [index for index, row in enumerate(table.rows) if row.stride == 2][:count]
    rows = (replace(row, stride=1) if index in strided else row for index, row in enumerate(table.rows))
    return replace(table, rows=tuple(rows))


# --- Widths and strides --------------------------------------------------------------------


def _resolve_backbone(table: Table, opts: Options, stem_stride: int) -> Backbone:
    width = opts.width_mult
    fixed_stem = opts.width_rule == "keras" or (opts.width_rule == "timm" and width < 0.75)
    stem = table.stem if fixed_stem else make_divisible(table.stem * width)
    blocks: list[Block] = []
    table_in, in_channels = table.stem, stem
    grid, dilation, stage = stem_stride, 1, 0
    for row in table.rows:
        if blocks and (row.out != table_in or row.stride == 2):
            stage += 1
        if opts.width_rule == "torchvision":
            expand = make_divisible(row.expand * width)
        else:
            ratio = row.expand / table_in
            expand = in_channels if ratio == 1 else make_divisible(in_channels * ratio)
        stride, own_dilation, residual = row.stride, dilation, True
        if grid * stride > opts.output_stride:
            # Atrous convolution: keep the grid, widen the kernels of the blocks that follow.
            dilation *= stride
            stride = 1
            if opts.atrous_rule == "torchvision":
                own_dilation, residual = dilation, False
        grid *= stride
        block = Block(
            kernel=row.kernel,
            stride=stride,
            dilation=own_dilation,
            in_channels=in_channels,
            expand_channels=expand,
            out_channels=make_divisible(row.out * width),
            se_channels=make_divisible(expand / 4) if row.se else 0,
            act=row.act,
            output_stride=grid,
            stage=stage,
            has_residual=residual,
        )
        blocks.append(_apply_block_rule(block, opts.block_rule, first=not blocks))
        table_in, in_channels = row.out, block.out_channels
    last = make_divisible(table.last * width) if opts.width_rule in ("tensorflow", "timm") else 6 * in_channels
    return Backbone(
        in_channels=opts.in_channels,
        stem_channels=stem,
        stem_stride=stem_stride,
        blocks=tuple(blocks),
        last_channels=last,
        last_convs=math.ceil(opts.depth_mult),
        act=table.act,
    )


def _apply_block_rule(block: Block, rule: str, first: bool) -> Block:
    residual = block.has_residual and block.stride == 1 and block.in_channels == block.out_channels
    block = replace(block, has_residual=residual)
    if rule == "se_before_activation":
        return replace(block, se_first=bool(block.se_channels) and block.has_expand)
    if rule == "timm_rw":
        squeeze = round(block.expand_channels / 4) if block.se_channels else 0
        return replace(block, se_channels=squeeze, se_act=block.act, has_residual=residual and not first)
    return block


# --- Heads ---------------------------------------------------------------------------------


def _classifier(table: Table, backbone: Backbone, opts: Options) -> ClassifierHead:
    scaled = opts.width_rule == "torchvision" or (opts.width_rule == "keras" and opts.width_mult > 1)
    hidden = make_divisible(table.hidden * opts.width_mult) if scaled else table.hidden
    return ClassifierHead(
        in_channels=backbone.last_channels,
        hidden_channels=opts.head_channels or hidden,
        hidden_bias=opts.block_rule != "timm_rw",
        num_classes=opts.num_classes,
        dropout=opts.dropout,
        act=table.act,
    )


def _segmentation_head(table: Table, backbone: Backbone, opts: Options) -> SegmentationHead:
    head = HEADS[opts.head or "lraspp"]
    common: dict[str, Any] = {
        "high_channels": backbone.last_channels,
        "channels": opts.head_channels or head.defaults["head_channels"],
        "num_classes": opts.num_classes,
        "dropout": opts.dropout,
        "bn_eps": head.bn_eps or opts.bn_eps,
    }
    if head.fusion == "none":
        return RASPPHead(**common)
    common |= {
        "pooling": _pooling(head, opts.output_stride),
        "gate": head.gate,
        "gate_bias": head.gate_bias,
    }
    if head.fusion == "concat":
        return ConcatHead(skips=(_output_at(backbone, 4, 64), _output_at(backbone, 2, 32)), **common)
    return LRASPPHead(skip=_skip(table, backbone, head), align_corners=head.align_corners, **common)


def _pooling(head: Head, output_stride: int) -> Pooling | None:
    if head.pooling == "global":
        return None
    return OFFICIAL_POOLING[16 if head.pooling == "window 49" else output_stride]


def _skip(table: Table, backbone: Backbone, head: Head) -> Skip:
    """The 1/8 map, among the blocks that the undilated network has on that grid."""
    grids = list(accumulate((row.stride for row in table.rows), operator.mul, initial=2))[1:]
    first, last = grids.index(8), len(grids) - 1 - grids[::-1].index(8)
    if head.skip == "first output":
        return Skip(tap=f"blocks.{first}", channels=backbone.blocks[first].out_channels)
    return Skip(tap=f"blocks.{last}.depthwise", channels=backbone.blocks[last].expand_channels)


def _output_at(backbone: Backbone, grid: int, reduced: int) -> Skip:
    """The deepest block output at 1/`grid`, or the stem where there is none."""
    for index in reversed(range(len(backbone.blocks))):
        block = backbone.blocks[index]
        if block.output_stride == grid:
            return Skip(tap=f"blocks.{index}", channels=block.out_channels, reduced=reduced)
    return Skip(tap="stem", channels=backbone.stem_channels, reduced=reduced)
