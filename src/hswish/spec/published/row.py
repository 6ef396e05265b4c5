"""One published row: what somebody printed about a network of ours, in the digits that were printed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_UNITS = {"": 1, "M": 10**6, "G": 10**9, "B": 10**9}


@dataclass(frozen=True)
class Printed:
    """A count as a source prints it, such as `5.4M`, `9.74B`, `0.217G` or `5,483,032`.

    Raises:
        ValueError: the text is no such count.
    """

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d[\d,]*(\.\d+)?[MGB]?", self.text):
            raise ValueError(f"not a printed count: {self.text!r}")

    @property
    def value(self) -> float:
        """The count itself, not in millions or billions."""
        return float(self._digits) * self._unit

    def of(self, count: int) -> str:
        """`count` rounded to the digits and in the unit of this text: equal to it where both agree.

        >>> Printed("5.4M").of(5_483_032), Printed("0.217G").of(216_589_760)
        ('5.5M', '0.217G')
        """
        decimals = len(self._digits.partition(".")[2])
        comma = "," if "," in self.text else ""
        return f"{count / self._unit:{comma}.{decimals}f}{self.text[len(self._number) :]}"

    @property
    def _number(self) -> str:
        return self.text.rstrip("MGB")

    @property
    def _digits(self) -> str:
        return self._number.replace(",", "")

    @property
    def _unit(self) -> int:
        return _UNITS[self.text[len(self._number) :]]


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A row of a published table, and the network of ours that it speaks of."""

    source: str
    """who, where: "ICCV 2019, Table 7, row 8" """
    from_paper: bool = False
    """the paper's own; the others are re-implementations and later measurements"""
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    """of `model`, as the source describes its network"""
    size_px: tuple[int, int]
    """(height, width) of the input"""
    parameters: Printed | None = None
    multiply_adds: Printed | None = None
    top1: float | None = None
    """percent, on the validation pictures of ImageNet"""
    miou: float | None = None
    """percent, on `data`"""
    data: str = "ImageNet"
    """what the score was measured on"""

    def to_dict(self) -> dict[str, Any]:
        """For JSON: counts as numbers, and as they are printed."""
        counts = {"parameters": self.parameters, "multiply_adds": self.multiply_adds}
        return {
            "source": self.source,
            "from_paper": self.from_paper,
            "size": list(self.size_px),
            **{key: printed and round(printed.value) for key, printed in counts.items()},
            "printed": {key: printed.text for key, printed in counts.items() if printed},
            "top1": self.top1,
            "miou": self.miou,
            "data": self.data,
        }
