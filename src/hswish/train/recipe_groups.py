"""The parts of a recipe that have a name of their own: `loss.*`, `finetune.*` and `distill.*`."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from hswish.spec.errors import OptionError, unknown_name

PixelLoss = Literal["cross_entropy", "focal", "ohem"]
RegionLoss = Literal["none", "dice", "lovasz"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is minimised beside plain cross-entropy.

    Raises:
        OptionError: a field is out of range.
    """

    pixel: PixelLoss = "cross_entropy"
    """cross_entropy; focal: easy ones count less; ohem: the hardest pixels of each mask alone"""
    focal_gamma: float = 2.0
    """how much less: (1 - p) to this power (arXiv 1708.02002)"""
    ohem_threshold: float = 0.7
    """ohem keeps the pixels whose own class has less than this probability"""
    ohem_keep: float = 0.0625
    """ohem keeps at least this part of a mask's labelled pixels"""
    stride: int = 1
    """of masks it sees every so many rows and columns, others at each step: 2 costs a quarter"""
    region: RegionLoss = "none"
    """of masks, added to the pixels' loss: dice (soft, of plain sums) or lovasz (arXiv 1705.08790)"""
    region_weight: float = 1.0
    """factor of the region's loss"""
    region_stride: int = 1
    """of those that the loss sees, the region's takes every so many; Lovasz sorts all that it takes"""
    auxiliary: float = 0.0
    """factor of the loss of a second mask made from a middle map, in training only; 0: none"""

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("focal_gamma", "region_weight", "auxiliary"):
            check_number(self, name, least=0)
        for name in ("stride", "region_stride"):
            check_number(self, name, least=1, whole=True)
        for name in ("ohem_threshold", "ohem_keep"):
            check_number(self, name, least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How trained weights are treated with care.

    Raises:
        OptionError: a field is out of range.
    """

    freeze_epochs: int = 0
    """so many first epochs train the head alone, the backbone and its batch norms stand still"""
    backbone_lr: float = 1.0
    """factor of the backbone's learning rate"""
    depth_decay: float = 1.0
    """each layer further from the head learns at this factor of the one after it, in (0, 1]"""

    def __post_init__(self) -> None:
        check_number(self, "freeze_epochs", least=0, whole=True)
        check_number(self, "backbone_lr", least=0)
        check_number(self, "depth_decay", least=0.01, most=1)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Learning from other networks' answers (arXiv 1503.02531).

    Raises:
        OptionError: a field is out of range.
    """

    teacher: tuple[str, ...] = ()
    """model files with the same classes, or any networks as `.onnx` files, which answer with the mean of their
    probabilities; the run keeps copies of them. A single name is taken, too"""
    weight: float = 0.5
    """share of the teacher's answers in the loss; the rest is the labels'"""
    temperature: float = 2.0
    """logits are divided by it, so that small probabilities tell something too"""

    def __post_init__(self) -> None:
        if not isinstance(self.teacher, tuple):  # runs before 2026-11-27 had one or None
            object.__setattr__(self, "teacher", () if self.teacher is None else (self.teacher,))
        if not all(isinstance(name, str) for name in self.teacher):
            raise OptionError(f"teacher must be names of model files, not {self.teacher!r}")
        check_number(self, "weight", least=0, most=1)
        check_number(self, "temperature", least=0.1)


# --------------------------------------------------------------------------------------
# Checks that all parts share
# --------------------------------------------------------------------------------------


def check_number(record: Any, name: str, *, least: float, most: float = math.inf, whole: bool = False) -> None:
    """Raises OptionError: the field is no number within `least` to `most`, or a fraction where whole ones count."""
    value = getattr(record, name)
    numbers = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, numbers) or not least <= value <= most or value == math.inf:
        kind = "a whole number, " if whole else ""
        bounds = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
        raise OptionError(f"{name} must be {kind}{bounds}, not {value!r}")


_KINDS: dict[Any, tuple[type | tuple[type, ...], str]] = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "a text"),
    dict: (dict, "a dict"),
}
"""What a value of a declared type may be, and its name."""


def check_types(record: Any) -> None:
    """Raises OptionError: a field is of another type than it is declared with; a text such as "false" would be true."""
    hints = typing.get_type_hints(type(record))
    for item in fields(record):
        hint, value = hints[item.name], getattr(record, item.name)
        if isinstance(hint, types.UnionType):
            if value is None:
                continue
            hint = typing.get_args(hint)[0]
        if is_dataclass(hint) and not isinstance(value, typing.cast(type, hint)):
            group, first = typing.cast(type, hint).__name__, fields(hint)[0].name
            raise OptionError(
                f"{item.name} must be {group}(...), not {value!r}; a recipe's fields of a group are set by "
                f'with_changes({{"{item.name}.{first}": ...}})'
            )
        kind, wanted = _KINDS.get(typing.get_origin(hint) or hint, (object, ""))
        if not isinstance(value, kind) or (isinstance(value, bool) and hint in (int, float)):
            raise OptionError(f"{item.name} must be {wanted}, not {value!r}")


def check_choices(record: Any) -> None:
    """Raises OptionError: a field of named choices has another value (the nearest are offered)."""
    hints = typing.get_type_hints(type(record))
    for item in fields(record):
        choices, value = typing.get_args(hints[item.name]), getattr(record, item.name)
        if choices and isinstance(choices[0], str) and value not in choices:
            raise unknown_name(item.name, value, choices)


def parse_value(text: str, hint: Any) -> Any:
    """`text` from a command line as a value of the type `hint`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(hint, types.UnionType):
        if text.lower() == "none":
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if kind is str and text.lower() in ("", "none"):
            return ()
        return tuple(kind(part) for part in text.strip("()").split(","))
    if hint is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError("neither true nor false")
        return words[text.lower()]
    if hint in (int, float):
        return hint(text)
    if hint is not str and typing.get_origin(hint) is not Literal:
        raise ValueError("not to be given as text")
    return text
