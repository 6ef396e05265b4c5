"""The table of published weights: one file a publisher, one row a file of weights.

Figures, sizes and licences are their publishers'; what none of them states is not stated here.
"""

from __future__ import annotations

from hswish.hub.weights import d_li14, fastseg, keras, timm, torchvision
from hswish.hub.weights.row import PublishedWeights

WEIGHTS: tuple[PublishedWeights, ...] = (
    *torchvision.ROWS,
    *timm.ROWS,
    *keras.ROWS,
    *d_li14.ROWS,
    *fastseg.ROWS,
)

_BY_NAME = {row.name: row for row in WEIGHTS} | {row.also: row for row in WEIGHTS if row.also}


def find(name: str) -> PublishedWeights | None:
    """The row called `name`, by us or by its publisher; None where there is none."""
    return _BY_NAME.get(name)


__all__ = ["WEIGHTS", "PublishedWeights", "find"]
