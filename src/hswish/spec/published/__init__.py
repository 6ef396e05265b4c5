"""What has been published about our networks, to stand beside what we count and measure.

paper.py       the paper's own rows
code_bases.py  the authors' releases and other libraries
notes.py       where these disagree, and which reading is ours
"""

from __future__ import annotations

from dataclasses import replace

from hswish.spec.architecture import (
    Architecture,
    ClassifierHead,
    ConcatHead,
    LRASPPHead,
    SegmentationHead,
    resolve,
)
from hswish.spec.published.code_bases import CODE_BASE_ROWS
from hswish.spec.published.notes import NOTES, Note, notes_for
from hswish.spec.published.paper import PAPER_ROWS
from hswish.spec.published.row import Printed, PublishedRow

__all__ = ["NOTES", "ROWS", "Note", "Printed", "PublishedRow", "network_of", "notes_for", "published_rows", "rows_of"]

ROWS: tuple[PublishedRow, ...] = (*PAPER_ROWS, *CODE_BASE_ROWS)
"""The paper's first."""


def published_rows(arch: Architecture, height: int, width: int) -> tuple[PublishedRow, ...]:
    """The rows about this network at this input size in pixels, the paper's first; none for a custom one."""
    return tuple(row for row in rows_of(arch) if row.size_px == (height, width))


def rows_of(arch: Architecture) -> tuple[PublishedRow, ...]:
    """The rows about this network at any input size.

    A row fits where layers and widths are the same; what changes no layer's shape (dropout, padding,
    batch norm's constants, the gate and the pooling of Lite R-ASPP) may differ. Small fits the paper's
    rows with the 1280 channels that its Table 2 prints and with the 1024 that everybody builds.
    """
    return tuple(row for row in ROWS if row.model == arch.name and _fits(arch, row))


def network_of(row: PublishedRow) -> Architecture:
    """The network that a row speaks of."""
    return resolve(row.model, **row.options)


def _fits(arch: Architecture, row: PublishedRow) -> bool:
    published = network_of(row)
    if arch.backbone != published.backbone:
        return False
    if isinstance(arch.head, ClassifierHead):
        usual = resolve(row.model, **{**row.options, "head_channels": None})
        return _shape(arch.head) in (_shape(published.head), _shape(usual.head))
    return _shape(arch.head) == _shape(published.head)


def _shape(head: ClassifierHead | SegmentationHead) -> ClassifierHead | SegmentationHead:
    """`head` without what changes no weight."""
    if isinstance(head, ClassifierHead):
        return replace(head, dropout=0)
    if isinstance(head, LRASPPHead):
        return replace(head, dropout=0, bn_eps=1, pooling=None, gate="sigmoid", align_corners=False)
    if isinstance(head, ConcatHead):
        return replace(head, dropout=0, bn_eps=1, pooling=None, gate="sigmoid")
    return replace(head, dropout=0, bn_eps=1)
